"""prime-rl: a task sampler. Its `Curriculum` makes the two samplers it knows; docs/adapters.md has the patch that
lets a configuration name another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import Any

import pyarrow as pa

from bots.adapters.curriculum import Curriculum
from bots.adapters.scale import Scale
from bots.core import BOTS
from bots.pool import PoolError, TaskPool


class BOTSSampler(Iterator[Any]):
    """prime-rl's `TaskSampler`: `__next__`, `observe`, `state_dict`, `load_state_dict`, `metrics`.

    tasks: a finite sequence of `verifiers` tasks; `Task.key` is the id.
    wave: tasks of one optimizer step (`batch_size / rollouts_per_example`).
    weak, strong, level, domain: names of fields of `Task.data`. scale: see `bots.adapters.scale`.
    settings: of BOTS; `rollouts` is `rollouts_per_example`.
    """

    def __init__(
        self,
        tasks: Sequence[Any],
        *,
        wave: int,
        weak: str | None = None,
        strong: str | None = None,
        level: str | None = None,
        domain: str | None = None,
        scale: Scale = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(tasks, Sequence):
            raise PoolError(
                "the taskset is an iterator; BOTS keeps a belief about each task and needs a finite sequence"
            )
        self.tasks = tuple(tasks)
        columns: dict[str, list[Any]] = {"id": [task.key for task in self.tasks]}
        for column, name in {"weak": weak, "strong": strong, "level": level, "domain": domain}.items():
            if name is not None:
                columns[column] = [_field(task, name) for task in self.tasks]
        pool = TaskPool.from_arrow(pa.table(columns), weak and "weak", strong and "strong")
        self.curriculum = Curriculum(BOTS(pool, **(settings or {})), scale=scale, wave=wave)

    def __next__(self) -> Any:
        """The next task of the wave."""
        ((_, row),) = self.curriculum.take(1)
        return self.tasks[row]

    def observe(self, group: list[Any]) -> None:
        """Learn from a finalized group of episodes: the rewards of its trainable traces; one with an error is none."""
        rewards = [
            nan if trace.has_error else float(trace.reward)
            for episode in group
            for trace in episode.traces
            if trace.agent.trainable
        ]
        row = int(self.curriculum.bots.pool.rows([group[0].task.key])[0])
        if rewards:
            self.curriculum.observe([row] * len(rewards), rewards, complete=True)
        else:
            self.curriculum.drop([row])

    def state_dict(self) -> dict[str, Any]:
        """The posterior, the rest of the wave and what is in flight."""
        return self.curriculum.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.curriculum.load_state_dict(state_dict)

    def metrics(self) -> dict[str, float]:
        """Of the curriculum."""
        return self.curriculum.metrics()


def _field(task: Any, name: str) -> Any:
    if not hasattr(task.data, name):
        raise PoolError(f"task {task.key!r} has no field {name!r} in its data")
    return getattr(task.data, name)
