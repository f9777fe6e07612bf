"""What dynamic sampling costs a step: generation seconds and tokens over those without it, in virtual time.

    python -m benchmarks.refill [--engines 2] [--tasks 32] [--steps 40] [--signal 0.8 0.5 0.25]

The ledger, the waves, the batches and the engine pool are real; the engines are fakes (`benchmarks.fake_engine`), and a
group has signal by chance, with the probabilities of `--signal`. Completions have a long tail (the median is 40 tokens,
the longest of a thousand 500). Two laws, between which real engines lie: one in which all completions of an engine
share its tokens per second (a CPU, or a GPU that is full), and one in which each has its own (a GPU with room to
spare). Learning and weight synchronisation, which a filter does not change, are not included. The filters:

    rounds 1.5   selection.dynamic={}
    rounds 1     selection.dynamic={oversample: 1}
    each         selection.dynamic={refill: each}
    one request  selection.dynamic={oversample: 1.3, rounds: 1}

Columns: seconds and tokens of a step over those without a filter, and the share of the batch that is trained on with
signal.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from actors.batches import Batches
from actors.chores import Chores
from actors.engine_pool import EnginePool
from actors.pooled_engine import Weights
from actors.waves import Waves, wave_sizes
from benchmarks.fake_engine import FakeEngine, Law, Local
from benchmarks.virtual_clock import run
from bots.config.selection import DynamicConfig, SelectionConfig
from bots.config.train import RolloutConfig
from bots.rollouts.ledger import Key, Ledger
from bots.rollouts.request import Request, RequestKey, Sampling
from bots.rollouts.rollout import Group, Rollout

SAMPLES, POOL = 8, 100_000
LAWS = {
    "shared": Law(40.0, 0.8, 2000.0, slots=256, shared=True),
    "each its own": Law(40.0, 0.8, 20.0, slots=256),
}
FILTERS = {
    "none": None,
    "rounds 1.5": DynamicConfig(),
    "rounds 1": DynamicConfig(oversample=1),
    "each": DynamicConfig(refill="each"),
    "one request": DynamicConfig(oversample=1.3, rounds=1),
}


class Posterior:
    """Selects the pool's rows in turn; `select.remote` as of the posterior actor."""

    def __init__(self) -> None:
        self.select = SimpleNamespace(remote=self._select)
        self._next = 0

    async def _select(
        self, wave: int, tasks: int, exclude: Sequence[int], refill: int = 0
    ) -> tuple[Any, float]:
        rows = np.arange(self._next, self._next + tasks) % POOL
        self._next += tasks
        return rows, 0.0


@dataclass
class Cost:
    """Of a step, on average. full: the share of the batch with signal."""

    seconds: float
    tokens: float
    full: float


async def cost(
    dynamic: DynamicConfig | None, law: Law, engines: int, tasks: int, steps: int, signal: float
) -> Cost:
    """Generate this many batches of `tasks` groups with one filter. signal: the share of groups that have it."""
    loop, rng = asyncio.get_running_loop(), np.random.default_rng(0)
    selection = SelectionConfig(tasks=tasks, dynamic=dynamic)
    ledger, chores, groups = Ledger(wave_sizes(selection)[1], 0), Chores(), dict[Key, Group]()
    has_signal = rng.random(POOL) < signal
    version = tokens = with_signal = 0

    def completed(key: RequestKey, rollouts: list[Rollout]) -> None:
        nonlocal tokens
        tokens += sum(len(rollout.token_ids) for rollout in rollouts)
        rewards = np.ones(SAMPLES)
        rewards[: SAMPLES // 2] = 0.0 if has_signal[key[2]] else 1.0
        ledger.generated(key[1:], version)
        groups[key[1:]] = Group(key[2], "", rollouts, rewards, [""] * SAMPLES, key[1])
        ledger.graded(key[1:])
        chores.tell()

    def unexpected(*what: Any) -> None:
        raise RuntimeError(f"unexpected here: {what}")

    pool = EnginePool(
        RolloutConfig(samples=SAMPLES, max_num_seqs=law.slots or SAMPLES),
        lambda key, version: ledger.generate(key[1:], version),
        completed,
        unexpected,
        unexpected,
        lambda name, seconds: None,
        unexpected,
    )
    sampling = Sampling(SAMPLES, 2000)

    def open_gate() -> None:
        pool.submit(
            Request(("train", *key), np.zeros(4, np.int32), sampling, 1000 * key[1] + key[0])
            for key in waves.begin(version)
        )

    waves = Waves(selection, ledger, Posterior(), POOL)
    batches = Batches(selection, ledger, waves, chores, groups, POOL, open_gate)
    pool.add([(f"rollout-{i}", Local(Quick(f"rollout-{i}", law))) for i in range(engines)])
    started = loop.time()
    for step in range(steps):
        version = step
        await waves.select()
        pool.set_weights(Weights(version, [], ""))
        open_gate()
        trained, due = await batches.next({})
        with_signal += sum(bool(groups[key].rewards.std()) for key in trained)
        ledger.train(trained)
        ledger.leave_out([key for key in due if key not in set(trained)], "no signal, or beyond a full batch")
    seconds = loop.time() - started
    pool.end()
    return Cost(seconds / steps, tokens / steps, with_signal / steps / tasks)


class Quick(FakeEngine):
    """Loads new weights at once."""

    async def load(self, buckets: list[Any], version: int) -> tuple[str, str, float]:
        self.version = version
        return self.name, "", 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=32)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--signal", type=float, nargs="+", default=[0.8, 0.5, 0.25])
    options = parser.parse_args()
    print(f"{'tokens per second':<20}{'signal':>8}  {'filter':<14}{'seconds':>8}{'tokens':>8}{'full':>7}")
    for name, law in LAWS.items():
        for signal in options.signal:
            found = {
                kind: run(cost(dynamic, replace(law), options.engines, options.tasks, options.steps, signal))
                for kind, dynamic in FILTERS.items()
            }
            for kind, each in found.items():
                seconds, tokens = each.seconds / found["none"].seconds, each.tokens / found["none"].tokens
                print(
                    f"{name:<20}{signal:>8.2f}  {kind:<14}{seconds:>8.2f}{tokens:>8.2f}{each.full:>7.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
