"""A step's batch: waiting for its groups and, with dynamic sampling, replacing those without signal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from actors.chores import Chores
from actors.waves import Waves
from bots.config.selection import SelectionConfig
from bots.rollouts.ledger import Key, Ledger
from bots.rollouts.rollout import Group
from bots.selection import DynamicFilter


class Batches:
    """Waits for batches. groups: the graded groups, which the caller adds. pool_size: tasks in the training pool.

    open_gate: sends the engines what `waves` has selected. In `next`, `waited` gets the seconds waited, by cause:
    "select", "generate" or "grade".
    """

    def __init__(
        self,
        config: SelectionConfig,
        ledger: Ledger,
        waves: Waves,
        chores: Chores,
        groups: Mapping[Key, Group],
        pool_size: int,
        open_gate: Callable[[], None],
    ) -> None:
        self._config, self._ledger, self._waves, self._chores = config, ledger, waves, chores
        self._groups, self._pool_size, self._open_gate = groups, pool_size, open_gate

    async def next(self, waited: dict[str, float]) -> tuple[list[Key], list[Key]]:
        """The next step's groups to train on, and all of its groups, in order of selection.

        With dynamic sampling, if no group is to be kept, the first `tasks` are trained on: a batch as without it.
        """
        settings = self._config.dynamic
        if settings is None:
            due = await self._due(waited)
            return due, due
        chosen = DynamicFilter(self._config.tasks, **settings.model_dump())
        kept = await (self._each if settings.refill == "each" else self._rounds)(chosen, waited)
        due = self._ledger.due() or []
        return [key for key in due if key in kept] or due[: self._config.tasks], due

    async def _rounds(self, chosen: DynamicFilter, waited: dict[str, float]) -> set[Key]:
        """Refill once all groups of a request are graded. Returns the groups to keep."""
        kept: set[Key] = set()
        looked_at: set[Key] = set()
        while True:
            # None is new if no group of the request could be graded. It counts as a round all the same.
            new = [key for key in await self._due(waited) if key not in looked_at]
            looked_at |= set(new)
            kept |= self._add(chosen, new)
            used = self._used()
            wanted = min(chosen.wanted(), self._pool_size - len(used))
            if not wanted:
                return kept
            await self._refill(wanted, used, chosen.round, waited)

    async def _each(self, chosen: DynamicFilter, waited: dict[str, float]) -> set[Key]:
        """Replace each group without signal as soon as it is graded. Returns the groups to keep.

        A replacement is selected by itself: which tasks make up the batch then depends on the order of selection only,
        not on which group was graded first.
        """
        kept: set[Key] = set()
        looked_at: set[Key] = set()
        refills = 0
        while True:
            if self._ledger.wave > self._ledger.step:
                new = [key for key in self._ledger.at("ready") if key not in looked_at]
                looked_at |= set(new)
                kept |= self._add(chosen, new)
                in_progress = len(self._ledger) - len(looked_at)
                used = self._used()
                wanted = chosen.wanted(in_progress, len(self._ledger.dropped))
                if wanted and len(used) < self._pool_size:
                    refills += 1
                    await self._refill(1, used, refills, waited)
                    continue
                if not in_progress:
                    return kept
            await self._news(waited)

    def _add(self, chosen: DynamicFilter, keys: Sequence[Key]) -> set[Key]:
        rows = np.array([row for _, row in keys], np.int64)
        keep = chosen.add(rows, [self._groups[key].rewards for key in keys])
        return {key for key, good in zip(keys, keep, strict=True) if good}

    def _used(self) -> list[int]:
        """Rows of the newest wave, which must not be selected again for it."""
        return [*self._ledger.rows, *self._ledger.dropped_rows]

    async def _refill(self, wanted: int, used: Sequence[int], number: int, waited: dict[str, float]) -> None:
        started = time.perf_counter()
        # As one of the chores, so that it cannot reach the ledger after the run went back to a checkpoint.
        await self._chores.result(self._waves.refill(wanted, used, number))
        self._open_gate()
        waited["select"] = waited.get("select", 0.0) + time.perf_counter() - started

    async def _due(self, waited: dict[str, float]) -> list[Key]:
        """Wait until all groups of the batch are graded."""
        while (due := self._ledger.due()) is None:
            await self._news(waited)
        return due

    async def _news(self, waited: dict[str, float]) -> None:
        started, blocked_by = time.perf_counter(), self._blocked_by()
        await self._chores.news()
        waited[blocked_by] = waited.get(blocked_by, 0.0) + time.perf_counter() - started

    def _blocked_by(self) -> str:
        if not len(self._ledger):
            return "select"
        return "generate" if self._ledger.blocked_by() == "generating" else "grade"
