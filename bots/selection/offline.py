"""A fixed curriculum: easy to hard by the reference pass rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector
from bots.support.arrays import Float32, Rows


class Offline(Selector):
    """Takes the tasks in falling order of reference pass rate, and starts over at the end.

    Ties keep the pool's order; tasks without a reference pass rate come last. Blocked tasks are skipped.
    Memory: the order, 4 bytes per task.

    reference: "mean" of the weak and the strong anchor (one alone where the other is unknown), "weak", "strong".
    """

    def __init__(self, pool: TaskPool, reference: str = "mean") -> None:
        super().__init__(pool)
        if reference not in ("mean", "weak", "strong"):
            raise ValueError(f'reference is {reference!r}; it must be "mean", "weak" or "strong"')
        if not pool.has_anchors:
            raise ValueError("offline selection needs a pool with anchors; name its weak and strong columns")
        self.reference = reference
        self._order = self._easy_to_hard()
        self._cursors: dict[int, int] = {}

    def _easy_to_hard(self) -> npt.NDArray[np.int32]:
        rate = reference_rate(self.pool, self.reference)
        return np.argsort(-rate, kind="stable").astype(np.int32)

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        cursor = self._cursors.get(request.domain, 0)
        codes = self.codes(request.domain)
        chosen: list[int] = []
        for _ in range(len(self._order)):
            row = int(self._order[cursor])
            cursor = (cursor + 1) % len(self._order)
            if not beliefs.blocked[row] and (request.domain < 0 or codes[row] == request.domain):
                chosen.append(row)
                if len(chosen) == request.batch:
                    break
        self._cursors[request.domain] = cursor
        return np.array(chosen, np.int64)

    def grow(self, pool: TaskPool) -> None:
        """Insert the new tasks into the order; each cursor stays before the same task."""
        at = {domain: self._order[cursor] for domain, cursor in self._cursors.items()}
        super().grow(pool)
        self._order = self._easy_to_hard()
        self._cursors = {domain: int(np.argmax(self._order == row)) for domain, row in at.items()}

    def state_dict(self) -> dict[str, Any]:
        """The position in the order, for each requested domain."""
        return {"cursors": {str(d): c for d, c in self._cursors.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Selector."""
        self._cursors = {int(d): int(c) for d, c in state["cursors"].items()}


def reference_rate(pool: TaskPool, reference: str) -> Float32:
    """Pass rates by the anchors, float32 (K,); NaN where unknown. reference: see `Offline`."""
    weak, strong = pool.weak, pool.strong
    rate = {"weak": weak, "strong": strong}.get(reference)
    if rate is None:
        both = (weak + strong) / 2
        rate = np.where(np.isnan(both), np.where(np.isnan(weak), strong, weak), both)
    return rate
