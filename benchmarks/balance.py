"""How well engines share a wave: wall-clock over the ideal, for 2, 8 and 64 engines, in virtual time.

    python -m benchmarks.balance [--engines 2 8 64] [--waves 12] [--groups 16]

The engine pool is real. The engines are fakes (`benchmarks.fake_engine`) that share a fixed number of tokens per second
among their completions, as an engine on a CPU does. A wave has `--groups` groups of 8 completions per engine and takes
3 to 4 s; before it, each engine loads new weights, which takes up to 0.2 s. The ideal is the total generation time
divided by the number of engines, after the mean loading time. At 1.00 all engines finish at the same moment and none is
ever idle. Columns: slots of an engine, length distribution, wall-clock over the ideal, and the fewest and most
completions that an engine got in a wave.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from actors.engine_pool import EnginePool
from actors.pooled_engine import Weights
from benchmarks.fake_engine import FakeEngine, Law, Local
from benchmarks.virtual_clock import run
from bots.config.train import RolloutConfig
from bots.rollouts.request import Request, RequestKey, Sampling
from bots.rollouts.rollout import Rollout

SAMPLES, MEDIAN, LOAD_SECONDS = 8, 40.0, 0.2
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


@dataclass
class Shared:
    """A result. seconds: wall-clock. ideal: with the work spread evenly. completions: by (wave, engine)."""

    seconds: float
    ideal: float
    completions: Counter[tuple[int, str]]


async def share(engines: int, slots: int, sigma: float, waves: int, groups: int, seed: int = 0) -> Shared:
    """Generate this many waves, each after new weights, with `groups` groups per engine."""
    law = Law(MEDIAN, sigma, tokens_per_second=2000.0, slots=slots, shared=True)
    fakes = [SlowLoader(f"rollout-{i}", law, np.random.default_rng((seed, i))) for i in range(engines)]
    completions: Counter[tuple[int, str]] = Counter()
    tokens = 0
    complete = asyncio.Event()
    left = 0

    def completed(key: RequestKey, rollouts: list[Rollout]) -> None:
        nonlocal tokens, left
        completions[key[1], rollouts[0].engine] += len(rollouts)
        tokens += sum(len(rollout.token_ids) for rollout in rollouts)
        left -= 1
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
    seconds = 0.0
    loop = asyncio.get_running_loop()
    for wave in range(1, waves + 1):
        left = groups * engines
        complete.clear()
        pool.set_weights(Weights(wave, [], ""))
        started = loop.time()
        pool.submit(
            Request(("train", wave, row), np.zeros(4, np.int32), sampling, 1000 * wave + row)
            for row in range(groups * engines)
        )
        await complete.wait()
        seconds += loop.time() - started
    seconds -= sum(fake.load_seconds for fake in fakes) / engines
    return Shared(seconds, tokens / law.tokens_per_second / engines, completions)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", type=int, nargs="+", default=[2, 8, 64])
    parser.add_argument("--waves", type=int, default=12)
    parser.add_argument("--groups", type=int, default=16)
    options = parser.parse_args()
    print(f"{'engines':>8}{'slots':>8}  {'lengths':<12}{'wall/ideal':>10}{'fewest':>8}{'most':>6}")
    for engines in options.engines:
        for slots in (32, 256):
            for name, sigma in LAWS.items():
                found = run(share(engines, slots, sigma, options.waves, options.groups))
                ratio = found.seconds / found.ideal
                counts = found.completions.values()
                print(
                    f"{engines:>8}{slots:>8}  {name:<12}{ratio:>10.3f}{min(counts):>8}{max(counts):>6}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
