"""Fair shares of a wave whose groups differ in size: engines get the same number of completions, not of requests."""

from dataclasses import dataclass

import numpy as np
import pytest

from bots.rollouts.request import Request, Sampling
from bots.rollouts.shares import Shares


@dataclass(eq=False)
class Engine:
    number: int
    load: int = 0
    speed: float = 1.0


def requests(sizes, wave=1):
    prompt = np.zeros(1, np.int32)
    return [Request(("train", wave, row), prompt, Sampling(n, 100), None) for row, n in enumerate(sizes)]


def completions(handed, engines):
    return [sum(r.sampling.samples for e, r in handed if e is engine) for engine in engines]


@pytest.mark.parametrize("sizes", [[8, 8, 2, 2, 2, 2], [2, 2, 2, 2, 8, 8], [12, 2, 2, 2, 2, 2, 2]])
def test_engines_get_the_same_number_of_completions(sizes):
    shares, engines = Shares(64, 72), [Engine(0), Engine(1)]
    shares.put(requests(sizes))
    handed = shares.share_out(engines, [])
    assert len(handed) == len(sizes)
    assert len(shares) == 0
    assert completions(handed, engines) == [12, 12]


def test_the_share_of_an_engine_that_loads_is_kept_in_completions():
    shares, ready, loading = Shares(64, 72), Engine(0, load=20), Engine(1)
    shares.put(requests([9, 3, 3, 3, 3, 3]))
    handed = shares.share_out([ready], [loading])
    (given,) = completions(handed, [ready])
    assert 9 <= given <= 15, "about 12 of 24 are the other one's"
    for _, request in handed:
        shares.complete(ready, request)
    loading.load = ready.load = 0
    rest = shares.share_out([loading], [])
    assert completions(rest, [loading]) == [24 - given]


def test_what_is_taken_back_is_no_longer_given():
    shares, engines = Shares(64, 72), [Engine(0), Engine(1)]
    shares.put(requests([10, 2, 2, 2, 2, 2]))
    handed = shares.share_out(engines, [])
    first = [request for engine, request in handed if engine is engines[0]]
    for request in first:
        shares.take_back(engines[0], request)
    shares.put(first, first=True)
    again = shares.share_out([engines[0]], [])
    assert completions(again, [engines[0]]) == [sum(request.sampling.samples for request in first)]


def test_shares_are_in_proportion_to_speeds():
    shares, engines = Shares(64, 72), [Engine(0, speed=0.5), Engine(1, speed=1.5), Engine(2)]
    shares.put(requests([2] * 24))
    assert completions(shares.share_out(engines, []), engines) == [8, 24, 16]


def test_the_share_of_a_slow_engine_that_loads_is_kept_by_its_speed():
    shares, ready, loading = Shares(64, 72), Engine(0, load=20), Engine(1, speed=0.5)
    shares.put(requests([2] * 12))
    assert completions(shares.share_out([ready], [loading]), [ready]) == [16]
    assert completions(shares.share_out([loading], []), [loading]) == [8]
