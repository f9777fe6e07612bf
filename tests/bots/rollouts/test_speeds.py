"""Speeds of engines, from what they report."""

import numpy as np
import pytest

from bots.rollouts.speeds import SLOWEST, Pace, relative_speeds


def reported(speed, e, loads, noise=0.0, seed=0):
    """Reports of an engine with so many completions at a time."""
    rng, pace = np.random.default_rng(seed), Pace()
    for load in loads:
        tokens_per_second = 100 * speed * load**-e * np.exp(noise * rng.standard_normal())
        pace.add(tokens_per_second * load * 0.1, 0.1, load * 0.1)
    return pace


def falling(most, count=20):
    return np.geomspace(most, 1, count)


@pytest.mark.parametrize("e", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_engines_with_different_loads_are_alike(e, noise):
    paces = [reported(1.0, e, falling(most), noise, seed) for seed, most in enumerate([64, 16, 4, 64])]
    assert relative_speeds(paces) == [1.0] * 4


@pytest.mark.parametrize("e", [0.0, 0.3, 1.0])
def test_engines_that_always_have_different_loads_are_not_told_apart(e):
    paces = [reported(1.0, e, [load] * 20) for load in (64, 16)]
    assert relative_speeds(paces) == [1.0, 1.0]


@pytest.mark.parametrize("e", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_a_slow_engine_is_slow_whatever_it_has_to_do(e, noise):
    paces = [
        reported(speed, e, falling(most), noise, seed)
        for seed, (speed, most) in enumerate([(1.0, 64), (1.0, 64), (1 / 3, 32), (1.0, 64)])
    ]
    found = relative_speeds(paces)
    assert found[2] == pytest.approx(1 / 3, rel=0.05 + noise)
    assert found[:2] + found[3:] == [1.0] * 3


def test_two_engines_are_compared_with_what_is_between_them():
    slow, fast = relative_speeds([reported(1.0, 1.0, falling(32)), reported(3.0, 1.0, falling(64))])
    assert fast / slow == pytest.approx(3, rel=1e-3)
    assert fast * slow == pytest.approx(1)


def test_an_engine_without_reports_counts_as_like_the_others():
    known = [reported(1.0, 1.0, falling(32)) for _ in range(3)]
    assert relative_speeds([Pace(), *known]) == [1.0] * 4
    assert relative_speeds([Pace(), reported(5.0, 1.0, falling(32))]) == [1.0, 1.0]
    assert relative_speeds([]) == []


def test_no_engine_is_too_slow_to_be_measured_again():
    paces = [reported(speed, 1.0, falling(32)) for speed in (1.0, 1.0, 1e-4)]
    assert relative_speeds(paces) == [1.0, 1.0, SLOWEST]


def test_what_was_reported_long_ago_no_longer_counts():
    paces = [reported(speed, 1.0, falling(32)) for speed in (1.0, 1.0, 0.2)]
    for pace in paces:
        for _ in range(40):
            pace.fade()
    assert relative_speeds(paces) == [1.0] * 3
    for pace in paces:
        for load in falling(32, 4):
            pace.add(0.1 * 100 / load * load, 0.1, load * 0.1)
    assert relative_speeds(paces) == [1.0] * 3


def test_a_report_without_tokens_says_nothing():
    pace = Pace()
    pace.add(0, 0.0, 0.0)
    pace.add(0, 0.5, 4.0)
    assert not pace.known
