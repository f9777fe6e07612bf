"""GPS: intermediate tasks that differ from each other and from the last batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bots.belief.base import Belief
from bots.evidence.neighbours import features_of
from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector
from bots.selection.ranking import best, free_rows
from bots.support.arrays import Float32, Float64, Rows
from bots.support.checks import whole


class GPS(Selector):
    """Adds tasks one by one, each time the one of greatest -(p̄ - p*)² + w·D.

    Source: GPS (Qu et al. 2026, arXiv 2602.01970): the utility -(p̄ - ½)², with history-anchored diversity, solved by
    the greedy rule for max-sum diversification. Written from a summary of the paper: w is ours, and so is D, the mean
    cosine distance (1 - cos)/2 of the embeddings to the tasks already taken, plus that to the previous wave's batch.
    The name `gps` also sets evidence `latent` with λ = ρ = 1, a linear stand-in for the paper's network, so that p̄ is
    its newest prediction, and for the tasks of the last batch what their own rollouts say.

    The greedy rule runs over the `candidates`·B tasks of greatest utility. Tasks without an embedding have D = 0.

    diversity: w ≥ 0. column: the pool's column of embeddings. candidates: see above.
    """

    def __init__(
        self, pool: TaskPool, diversity: float = 0.1, column: str = "embedding", candidates: int = 16
    ) -> None:
        super().__init__(pool)
        if not 0 <= diversity < np.inf:
            raise ValueError(f"diversity is {diversity}; it must be a finite number ≥ 0")
        self.diversity, self.column = float(diversity), column
        self.candidates = whole("candidates", candidates, 1)
        self._features = features_of(pool, column, "selector 'gps'")
        self._wave = -1
        self._batch: Rows = np.empty(0, np.int64)  # of the latest wave
        self._previous: Rows = np.empty(0, np.int64)

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        if request.wave > self._wave:
            self._wave, self._previous, self._batch = request.wave, self._batch, self._batch[:0]
        rows = free_rows(beliefs, request)
        utility = -((beliefs.mean(rows) - request.p_star) ** 2)
        size = min(len(rows), self.candidates * request.batch)
        rows = best(rows, utility, size, rng)
        utility = -((beliefs.mean(rows) - request.p_star) ** 2)
        chosen = self._greedy(rows, utility, request.batch) if self.diversity else rows[: request.batch]
        self._batch = np.concatenate([self._batch, chosen])
        return chosen

    def _greedy(self, rows: Rows, utility: Float64, batch: int) -> Rows:
        """The greedy batch among rows, which are in falling order of utility."""
        unit = self._unit(rows)
        known: npt.NDArray[np.bool_] = (unit != 0).any(axis=1)
        anchored = utility + self.diversity * _distance(unit, self._unit(self._previous), known)
        earlier = self._unit(self._batch)
        total, taken = earlier.sum(axis=0), int(earlier.any(axis=1).sum())
        free = np.ones(len(rows), np.bool_)
        chosen = []
        for _ in range(batch):
            spread = np.where(known, 0.5 * (1 - unit @ total / max(taken, 1)), 0.0) if taken else 0.0
            place = int(np.argmax(np.where(free, anchored + self.diversity * spread, -np.inf)))
            free[place] = False
            chosen.append(place)
            total += unit[place]
            taken += int(known[place])
        picked: Rows = rows[chosen]
        return picked

    def _unit(self, rows: Rows) -> Float32:
        """Embeddings of length 1, float32 (R, d); 0 without one."""
        features = self._features[rows].astype(np.float32)
        length = np.linalg.norm(features, axis=1, keepdims=True)
        unit: Float32 = features / np.where(length > 0, length, np.float32(1))
        return unit

    def grow(self, pool: TaskPool) -> None:
        """New tasks have embeddings of their own."""
        self._features = features_of(pool, self.column, "selector 'gps'")
        super().grow(pool)

    def state_dict(self) -> dict[str, Any]:
        """The batches that new ones keep away from."""
        return {"wave": self._wave, "batch": self._batch.copy(), "previous": self._previous.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Selector."""
        self._wave = int(state["wave"])
        self._batch = np.array(state["batch"], np.int64)
        self._previous = np.array(state["previous"], np.int64)


def _distance(unit: Float32, others: Float32, known: npt.NDArray[np.bool_]) -> Float64:
    """Mean (1 - cos)/2 of each unit vector to the others that have one, float64 (R,)."""
    count = int(others.any(axis=1).sum())
    if not count:
        return np.zeros(len(unit))
    return np.where(known, 0.5 * (1 - unit @ others.sum(axis=0) / count), 0.0)
