"""How well engines share a wave: wall-clock over the ideal, for 2, 8 and 64 engines, in virtual time.

    python -m benchmarks.balance [--engines 2 8 64] [--waves 12] [--groups 16] [--unlike]

The engine pool is real. The engines are fakes (`benchmarks.fake_engine`) that share a fixed number of tokens per second
among their completions, as an engine on a CPU does. A wave has `--groups` groups of 8 completions per engine and takes
3 to 4 s; before it, each engine loads new weights, which takes up to 0.2 s. The ideal is the total generation time
divided by the number of engines, after the mean loading time. At 1.00 all engines finish at the same moment and none is
ever idle. Columns: slots of an engine, length distribution, wall-clock over the ideal, and the fewest and most
completions that an engine got in a wave.

With `--unlike` the engines have different speeds, and the ideal is all tokens divided by the sum of the speeds.
Columns: wall-clock over the ideal in the first wave, where nobody knows the speeds (if one slows down: in that wave),
and from the third wave on.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from actors.engine_pool import EnginePool
from actors.pooled_engine import Weights
from benchmarks.fake_engine import FakeEngine, Law, Local
from benchmarks.virtual_clock import run
from bots.config.train import RolloutConfig
from bots.rollouts.request import Request, RequestKey, Sampling
from bots.rollouts.rollout import Rollout

SAMPLES, MEDIAN, LOAD_SECONDS, TOKENS_PER_SECOND = 8, 40.0, 0.2, 2000.0
LAWS = {"equal": 0.0, "long-tailed": 0.8}
"""Sigma of the logarithm of the lengths. At 0.8 the longest of a thousand completions is twelve times the median."""


class SlowLoader(FakeEngine):
    """Takes a random time of up to 0.2 s to load weights."""

    def __init__(self, name: str, law: Law, rng: np.random.Generator) -> None:
        super().__init__(name, law)
        self._rng = rng
        self.load_seconds = 0.0

    async def load(self, buckets: list[Any], version: int) -> tuple[str, str, float]:
        seconds = LOAD_SECONDS * self._rng.random()
        self.load_seconds += seconds
        await asyncio.sleep(seconds)
        self.version = version
        return self.name, "", 0.0


UNLIKE: dict[str, Callable[[int], list[float]]] = {
    "one 3 times slower": lambda engines: [1 / 3] + [1.0] * (engines - 1),
    "every other 3 times faster": lambda engines: [1.0, 3.0] * (engines // 2),
    "from half to twice": lambda engines: np.geomspace(0.5, 2.0, engines).tolist(),
    "one slows down to a third": lambda engines: [1.0] * engines,
}
"""Speeds of so many engines. The last kind changes in the middle of the second wave."""


@dataclass
class Shared:
    """A result, by wave. seconds: wall-clock. ideal: with the work spread evenly. completions: by (wave, engine)."""

    seconds: list[float]
    ideal: list[float]
    completions: Counter[tuple[int, str]]

    def ratio(self, first: int = 0, end: int | None = None) -> float:
        """Wall-clock over the ideal in these waves."""
        return sum(self.seconds[first:end]) / sum(self.ideal[first:end])


async def share(
    speeds: Sequence[float],
    slots: int,
    sigma: float,
    waves: int,
    groups: int,
    seed: int = 0,
    slows_in: int | None = None,
) -> Shared:
    """Generate this many waves, each after new weights, with `groups` groups per engine.

    speeds: of the engines; 1: 2,000 tokens per second. slows_in: when half of this wave's groups are done, the first
    engine falls to a third of its speed.
    """
    count, loop = len(speeds), asyncio.get_running_loop()
    laws = [Law(MEDIAN, sigma, TOKENS_PER_SECOND * speed, slots=slots, shared=True) for speed in speeds]
    fakes = [SlowLoader(f"rollout-{i}", law, np.random.default_rng((seed, i))) for i, law in enumerate(laws)]
    shared = Shared([], [], Counter())
    tokens = left = 0
    complete, half = asyncio.Event(), asyncio.Event()

    def completed(key: RequestKey, rollouts: list[Rollout]) -> None:
        nonlocal tokens, left
        shared.completions[key[1], rollouts[0].engine] += len(rollouts)
        tokens += sum(len(rollout.token_ids) for rollout in rollouts)
        left -= 1
        if left <= groups * count // 2:
            half.set()
        if not left:
            complete.set()

    def unexpected(*what: Any) -> None:
        raise RuntimeError(f"unexpected here: {what}")

    pool = EnginePool(
        RolloutConfig(samples=SAMPLES, max_num_seqs=slots),
        lambda key, version: None,
        completed,
        unexpected,
        unexpected,
        lambda name, seconds: None,
        unexpected,
    )
    pool.add([(fake.name, Local(fake)) for fake in fakes])
    sampling = Sampling(SAMPLES, 2000)
    for wave in range(1, waves + 1):
        left, tokens = groups * count, 0
        complete.clear()
        half.clear()
        loaded = sum(fake.load_seconds for fake in fakes)
        pool.set_weights(Weights(wave, [], ""))
        started = loop.time()
        pool.submit(
            Request(("train", wave, row), np.zeros(4, np.int32), sampling, 1000 * wave + row)
            for row in range(groups * count)
        )
        at_first, fast = 0.0, sum(law.tokens_per_second for law in laws)
        if wave == slows_in:
            await half.wait()
            laws[0] = replace(laws[0], tokens_per_second=laws[0].tokens_per_second / 3)
            fakes[0].change(laws[0])
            at_first = loop.time() - started
        await complete.wait()
        loading = (sum(fake.load_seconds for fake in fakes) - loaded) / count
        at_first = max(0.0, at_first - loading)
        shared.seconds.append(loop.time() - started - loading)
        rest = tokens - at_first * fast
        shared.ideal.append(at_first + rest / sum(law.tokens_per_second for law in laws))
    return shared


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", type=int, nargs="+", default=[2, 8, 64])
    parser.add_argument("--waves", type=int, default=12)
    parser.add_argument("--groups", type=int, default=16)
    parser.add_argument("--unlike", action="store_true")
    options = parser.parse_args()
    (unlike if options.unlike else alike)(options.engines, options.waves, options.groups)


def alike(engines: Sequence[int], waves: int, groups: int) -> None:
    """Print the table of alike engines."""
    print(f"{'engines':>8}{'slots':>8}  {'lengths':<12}{'wall/ideal':>10}{'fewest':>8}{'most':>6}")
    for count in engines:
        for slots in (32, 256):
            for name, sigma in LAWS.items():
                found = run(share([1.0] * count, slots, sigma, waves, groups))
                counts = found.completions.values()
                print(
                    f"{count:>8}{slots:>8}  {name:<12}{found.ratio():>10.3f}{min(counts):>8}{max(counts):>6}",
                    flush=True,
                )


def unlike(engines: Sequence[int], waves: int, groups: int) -> None:
    """Print the table of engines of different speeds."""
    print(f"{'engines':>8}{'slots':>8}  {'lengths':<12}  {'speeds':<28}{'first':>8}{'later':>8}")
    for count in engines:
        for slots in (32, 256):
            for name, sigma in LAWS.items():
                for kind, speeds in UNLIKE.items():
                    slows_in = 2 if kind.startswith("one slows") else None
                    found = run(share(speeds(count), slots, sigma, waves, groups, slows_in=slows_in))
                    first = found.ratio(1, 2) if slows_in else found.ratio(0, 1)
                    print(
                        f"{count:>8}{slots:>8}  {name:<12}  {kind:<28}{first:>8.2f}{found.ratio(2):>8.2f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
