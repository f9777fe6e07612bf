"""Which tasks may be selected now: not excluded, not cooling down, not retired."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np

from bots.belief.base import Belief
from bots.belief.history import History
from bots.selection.domain_shares import DomainShares
from bots.support.arrays import Rows, distinct
from bots.support.observation import Observation


class Eligibility:
    """Cool-down and retirement, both optional.

    cooldown: waves for which a task is not selected after it was selected or observed; 0: off. If more than half of
        the pool would rest, it is shortened until half of the pool is left; the same holds within each domain that
        has a share.
    retire_above: an observed task with at least this posterior mean counts as mastered; None: off.
    recheck: waves after which a retired task may be selected again.
    """

    def __init__(self, cooldown: int, retire_above: float | None, recheck: int) -> None:
        self.cooldown, self.retire_above, self.recheck = cooldown, retire_above, recheck
        self._until: dict[int, int] = {}
        self._readmitted = 0

    def observed(self, beliefs: Belief, observation: Observation) -> None:
        """Retire the mastered ones of the tasks just observed."""
        if self.retire_above is not None:
            rows = observation.rows
            mastered = beliefs.mean(rows) >= self.retire_above
            self._until.update((row, observation.wave + self.recheck) for row in rows[mastered].tolist())
            for row in rows[~mastered].tolist():
                self._until.pop(row, None)

    @contextmanager
    def blocking(
        self,
        beliefs: Belief,
        history: History,
        shares: DomainShares,
        wave: int,
        batch: int,
        excluded: Rows,
    ) -> Iterator[Rows]:
        """Set `beliefs.blocked` for one selection; yields the blocked rows, sorted."""
        for row in [row for row, until in self._until.items() if until <= wave]:
            del self._until[row]
        resting = np.array(sorted(self._until), np.int64)
        if self.cooldown:
            resting = distinct(resting, self._cooling(history, shares, wave))
        blocked = distinct(excluded, resting)
        if len(beliefs) - len(blocked) < batch:
            self._readmitted += batch
            blocked = excluded
        beliefs.blocked[blocked], beliefs.blocked_rows = 1, blocked
        try:
            yield blocked
        finally:
            beliefs.blocked[blocked], beliefs.blocked_rows = 0, blocked[:0]

    def _cooling(self, history: History, shares: DomainShares, wave: int) -> Rows:
        codes = shares.pool.domain_codes
        recent = cache(partial(history.recent, wave))

        def resting(domain: int, waves: int) -> Rows:
            rows: Rows = recent(waves)
            return rows if domain < 0 else rows[codes[rows] == domain]

        def of_part(domain: int, tasks: int) -> Rows:
            most = tasks // 2
            if len(rows := resting(domain, self.cooldown)) <= most:
                return rows
            # The number of resting tasks grows with the waves: take the most waves that leave enough.
            waves = range(self.cooldown + 1)
            return resting(domain, bisect_right(waves, most, key=lambda n: len(resting(domain, n))) - 1)

        return np.concatenate([of_part(domain, tasks) for domain, tasks in shares.parts])

    def state_dict(self) -> dict[str, Any]:
        """Retired rows, and the wave until which each rests."""
        return {
            "rows": np.array(list(self._until), np.int64),
            "until": np.array(list(self._until.values()), np.int64),
            "readmitted": self._readmitted,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._until = dict(zip(state["rows"].tolist(), state["until"].tolist(), strict=True))
        self._readmitted = state["readmitted"]

    def metrics(self) -> dict[str, float]:
        """Retired tasks, and tasks selected while cool-down and retirement were lifted."""
        if not self.cooldown and self.retire_above is None:
            return {}
        return {"retired": float(len(self._until)), "readmitted": float(self._readmitted)}
