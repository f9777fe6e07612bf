"""Engines share the work: random arrivals, loads and losses, with the real pool, in virtual time."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from ray.exceptions import RayActorError

from actors.engine_pool import EnginePool
from actors.pooled_engine import Weights
from benchmarks.balance import LAWS, UNLIKE, share
from benchmarks.fake_engine import FakeEngine, Law, Local
from benchmarks.virtual_clock import run
from bots.config.train import RolloutConfig
from bots.rollouts.request import Request, Sampling


class Engine(FakeEngine):
    """Takes a different time for each weight load. Dies on request: every call then fails until `pid`."""

    def __init__(self, name, law, load_seconds):
        super().__init__(name, law)
        self.load_seconds = load_seconds
        self.dead = False

    def __getattribute__(self, name):
        method = object.__getattribute__(self, name)
        if name not in ("pid", "ready", "begin", "submit", "collect", "load", "give_back"):
            return method

        async def call(*arguments):
            self.dead = self.dead and name != "pid"
            answer = await method(*arguments)
            if self.dead:
                raise RayActorError
            return answer

        return call

    async def load(self, buckets, version):
        await asyncio.sleep(self.load_seconds())
        self.version = version
        return self.name, "", 0.0

    def die(self):
        self.dead = True
        self._forget("dead")
        self._wake()


@dataclass
class Story:
    """A pool of fake engines and what happened to it. speeds: of the engines, by the law's; none: alike. answers: by
    (wave, engine). starved: cases where requests waited for no reason, with the idle engine."""

    engines: int
    slots: int
    samples: int
    law: Law
    load_seconds: object
    speeds: tuple = ()
    answers: Counter = field(default_factory=Counter)
    done: list = field(default_factory=list)
    starved: list = field(default_factory=list)
    losses: int = 0

    def start(self):
        self.news = asyncio.Event()
        self.pool = EnginePool(
            RolloutConfig(samples=self.samples, max_num_seqs=self.slots),
            lambda key, version: None,
            self._answered,
            lambda key, reason: pytest.fail(reason),
            lambda name, reason, requests: None,
            lambda name, seconds: None,
            pytest.fail,
        )
        self.fakes = []
        for place in range(self.engines):
            speed = self.speeds[place] if self.speeds else 1.0
            self.join(1, replace(self.law, tokens_per_second=self.law.tokens_per_second * speed))
        self.watch = asyncio.create_task(self._look())

    def join(self, count, law=None):
        first = len(self.fakes)
        made = [Engine(f"e{first + i}", law or self.law, self.load_seconds) for i in range(count)]
        self.fakes += made
        self.pool.add([(fake.name, Local(fake)) for fake in made])

    def submit(self, wave, groups):
        self.pool.submit(
            Request(
                ("train", wave, row), np.zeros(4, np.int32), Sampling(self.samples, 400), 997 * wave + row
            )
            for row in range(groups)
        )

    async def until(self, count):
        while len(self.done) < count:
            self.news.clear()
            await self.news.wait()

    def of_wave(self, wave):
        return [self.answers[wave, fake.name] for fake in self.fakes]

    def _answered(self, key, rollouts):
        self.done.append(key)
        self.answers[key[1], rollouts[0].engine] += len(rollouts)
        self.news.set()

    async def _look(self):
        """Look twice, a moment apart: requests may be in transit between engines."""
        before = set()
        while True:
            await asyncio.sleep(0.0101)
            engines = self.pool._engines
            newest = self.pool._weights and self.pool._weights.version
            waits = len(self.pool._shares) + sum(engine.unbegun for engine in engines)
            idle = {e.name for e in engines if e.up and e.version == newest and not e.open}
            if waits and (starved := idle & before):
                self.starved.append((asyncio.get_running_loop().time(), waits, starved))
            before = idle if waits else set()


def draw(seed):
    rng = np.random.default_rng(seed)
    engines, samples = int(rng.integers(1, 9)), int(rng.choice([2, 4, 8]))
    slots = int(rng.choice([3, samples, 4 * samples, 64, 512]))
    return rng, engines, slots, samples


def equal(samples):
    return Law(40.0, 0.0, tokens_per_second=400.0, slots=None)


@pytest.mark.parametrize("seed", range(12))
def test_alike_engines_get_the_same_whenever_they_load_their_weights(seed):
    rng, engines, slots, samples = draw(seed)
    groups = int(rng.integers(1, 12 * engines))

    async def story():
        law = Law(40.0, 0.0, tokens_per_second=400.0, slots=slots)
        told = Story(engines, slots, samples, law, lambda: 0.03 * rng.random())
        told.start()
        for wave in range(1, 4):
            told.pool.set_weights(Weights(wave, [], ""))
            await asyncio.sleep(0.05 * rng.random())
            told.submit(wave, groups)
            await told.until(groups * wave)
        return told

    told = run(story())
    assert sorted(told.done) == [("train", wave, row) for wave in range(1, 4) for row in range(groups)]
    assert not told.starved
    for wave in range(1, 4):
        of_wave = told.of_wave(wave)
        assert max(abs(answers - sum(of_wave) / engines) for answers in of_wave) <= samples


@pytest.mark.parametrize("seed", range(12))
def test_alike_engines_get_the_same_of_every_wave_when_generation_runs_ahead(seed):
    rng, engines, slots, samples = draw(seed)
    groups, k = int(rng.integers(engines, 12 * engines)), int(rng.integers(1, 3))

    async def story():
        told = Story(
            engines,
            slots,
            samples,
            Law(40.0, 0.0, tokens_per_second=400.0, slots=slots),
            lambda: 0.02 * rng.random(),
        )
        told.start()
        for wave in range(1, 7 + k):
            told.pool.set_weights(Weights(wave, [], ""))
            told.submit(wave, groups)
            if wave > k:
                await told.until(groups * (wave - k))
        await told.until(groups * (6 + k))
        return told

    told = run(story())
    assert not told.starved
    for wave in range(1, 7):
        of_wave = told.of_wave(wave)
        assert max(abs(answers - sum(of_wave) / engines) for answers in of_wave) <= samples, (
            wave,
            k,
            engines,
            slots,
            samples,
            groups,
            of_wave,
        )


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_lost_or_waits_while_an_engine_idles_whatever_happens(seed):
    rng, engines, slots, samples = draw(seed)

    async def story():
        law = Law(40.0, 0.8, tokens_per_second=400.0, slots=slots, shared=bool(rng.integers(2)))
        speeds = tuple(np.exp(rng.normal(size=engines))) if rng.integers(2) else ()
        told = Story(engines, slots, samples, law, lambda: rng.exponential(0.2), speeds)
        told.start()
        sizes = rng.integers(1, 8 * engines, 5)
        total = 0
        for wave, groups in enumerate(sizes.tolist(), start=1):
            told.pool.set_weights(Weights(wave, [], ""))
            await asyncio.sleep(0.1 * rng.random())
            told.submit(wave, groups)
            total += groups
            await asyncio.sleep(0.2 * rng.random())
            match rng.integers(5):
                case 0:
                    rng.choice(told.fakes).die()
                case 4:
                    fake = rng.choice(told.fakes)
                    fake.change(replace(fake.law, tokens_per_second=fake.law.tokens_per_second / 3))
                case 1 if len(told.fakes) < 12:
                    told.join(1)
                case 2:
                    await told.until(int(total * 0.9))
                case 3:
                    await told.until(total)
        async with asyncio.timeout(2000):
            await told.until(total)
        assert (told.pool.waiting, told.pool.running) == (0, 0)
        return told, sizes

    told, sizes = run(story())
    assert sorted(told.done) == [("train", w, row) for w, size in enumerate(sizes, 1) for row in range(size)]
    assert not told.starved


def test_what_a_slow_engine_has_not_begun_goes_to_one_that_runs_dry():
    async def story():
        fast = Law(40.0, 0.0, tokens_per_second=400.0, slots=16)
        told = Story(1, 16, 4, fast, lambda: 0.0)
        told.start()
        told.join(1, Law(40.0, 0.0, tokens_per_second=40.0, slots=16))
        told.pool.set_weights(Weights(1, [], ""))
        told.submit(1, 24)
        await told.until(24)
        return told, asyncio.get_running_loop().time()

    told, seconds = run(story())
    fast, slow = told.of_wave(1)
    # The slow engine finishes only what it started at once: a second batch would take another second.
    assert (fast, slow) == (80, 16)
    assert seconds < 1.1


def test_an_engine_that_comes_while_a_wave_is_answered_takes_of_what_waits():
    async def story():
        told = Story(1, 8, 4, Law(40.0, 0.0, tokens_per_second=400.0, slots=8), lambda: 0.0)
        told.start()
        told.pool.set_weights(Weights(1, [], ""))
        told.submit(1, 16)
        await told.until(4)
        told.join(1)
        await told.until(16)
        return told, asyncio.get_running_loop().time()

    told, seconds = run(story())
    assert min(told.of_wave(1)) >= 20
    assert seconds < 0.6, "eight helpings of 0.1 s for one alone, two of them before the other came"


def test_an_engine_whose_load_takes_long_keeps_no_other_idle():
    async def story():
        times = iter([0.0, 5.0])
        told = Story(2, 512, 4, Law(40.0, 0.0, tokens_per_second=400.0), lambda: next(times))
        told.start()
        told.pool.set_weights(Weights(1, [], ""))
        told.submit(1, 32)
        await told.until(32)
        return told, asyncio.get_running_loop().time()

    told, seconds = run(story())
    assert told.of_wave(1) == [128, 0]
    assert seconds < 1.0


@pytest.mark.parametrize(("name", "most"), [("equal", 1.1), ("long-tailed", 1.25)])
@pytest.mark.parametrize("engines", [2, 8])
def test_a_wave_takes_little_more_than_its_even_share(name, most, engines):
    found = run(share([1.0] * engines, 32, LAWS[name], waves=2, groups=16))
    assert found.ratio() < most


@pytest.mark.parametrize("kind", ["one 3 times slower", "from half to twice"])
@pytest.mark.parametrize("engines", [2, 8])
def test_engines_of_different_speeds_share_a_wave_by_their_speeds_once_those_are_measured(kind, engines):
    found = run(share(UNLIKE[kind](engines), 256, 0.0, waves=5, groups=16))
    assert found.ratio(end=1) > 1.9, "nobody knows the speeds yet"
    assert found.ratio(first=3) < 1.25


def test_an_engine_that_becomes_slower_gets_less():
    found = run(share([1.0] * 4, 256, LAWS["long-tailed"], waves=6, groups=8, slows_in=2))
    before, after = ([found.completions[wave, f"rollout-{i}"] for i in range(4)] for wave in (2, 6))
    assert before == [64] * 4
    assert after[0] <= 32 < 64 < min(after[1:])
