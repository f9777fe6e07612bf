"""Uniform selection: every task once per epoch, in a new random order each time."""

from __future__ import annotations

from typing import Any

import numpy as np

from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector
from bots.support.arrays import Rows


class Random(Selector):
    """Uniform without replacement within an epoch; each requested domain has its own epochs.

    The order is a keyed permutation of the row numbers, computed on the fly, so that no shuffled list of the
    pool's size is held. Blocked tasks are postponed, and come first once they are free again in the same epoch.
    New rows of a grown pool wait for the next epoch.
    """

    def __init__(self, pool: TaskPool) -> None:
        super().__init__(pool)
        self._epochs: dict[int, dict[str, Any]] = {}

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        from bots.selection.permutation import permuted

        codes = self.codes(request.domain)
        chosen: list[int] = []
        taken: set[int] = set()
        while len(chosen) < request.batch:
            epoch = self._epochs.get(request.domain)
            if epoch is None or (epoch["cursor"] == epoch["size"] and not self._free(epoch, beliefs, taken)):
                epoch = {
                    "number": 0 if epoch is None else epoch["number"] + 1,
                    "key": int(rng.integers(2**63)),
                    "size": len(beliefs),
                    "cursor": 0,
                    "put_off": [],
                }
                self._epochs[request.domain] = epoch
            for row in self._free(epoch, beliefs, taken):
                if len(chosen) == request.batch:
                    break
                epoch["put_off"].remove(row)
                if not self._skips(row, rng):
                    chosen.append(row)
                    taken.add(row)
            missing = request.batch - len(chosen)
            if missing == 0:
                break
            stop = min(epoch["size"], epoch["cursor"] + max(64, 2 * missing))
            for row in permuted(epoch["key"], epoch["size"], epoch["cursor"], stop).tolist():
                if len(chosen) == request.batch:
                    break
                epoch["cursor"] += 1
                if request.domain >= 0 and codes[row] != request.domain:
                    continue
                if beliefs.blocked[row] or row in taken:
                    epoch["put_off"].append(row)
                elif not self._skips(row, rng):
                    chosen.append(row)
                    taken.add(row)
        return np.array(chosen, np.int64)

    def _skips(self, row: int, rng: np.random.Generator) -> bool:
        """Whether this epoch leaves the row out."""
        return False

    @staticmethod
    def _free(epoch: dict[str, Any], beliefs: Belief, taken: set[int]) -> list[int]:
        return [row for row in epoch["put_off"] if not beliefs.blocked[row] and row not in taken]

    def state_dict(self) -> dict[str, Any]:
        """Key, cursor and postponed rows of each domain's epoch."""
        return {
            "epochs": {str(d): {**e, "put_off": list(e["put_off"])} for d, e in self._epochs.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Selector."""
        self._epochs = {int(d): {**e, "put_off": list(e["put_off"])} for d, e in state["epochs"].items()}

    def metrics(self) -> dict[str, float]:
        """Number of epochs so far, with the current one's fraction."""
        return {
            f"epoch{'' if d < 0 else '_' + self.pool.domains[d]}": e["number"] + e["cursor"] / e["size"]
            for d, e in self._epochs.items()
        }
