"""AdaRFT: a curriculum whose target difficulty follows the reward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector
from bots.selection.offline import reference_rate
from bots.selection.ranking import best, free_rows, positive
from bots.support.arrays import Float64, Rows
from bots.support.observation import Observation

ANCHORS = "anchors"


class AdaRFT(Selector):
    """Takes the tasks whose difficulty is nearest to a target T that rises and falls with the reward.

    Source: AdaRFT (Shi et al. 2025, arXiv 2504.05520), algorithm 1:

        batch: the B tasks of least |d_i - T|
        T ← clip(T + η·tanh(α·(R - β)), d_min, d_max)        R: mean reward of the batch

    β, the target reward, is p* (0.5 in both papers). The paper's difficulty is 100·(1 - p) with the pass rate p of a
    reference model; `difficulty` names a column with other scores, or "anchors" for 100·(1 - p) with the mean of the
    weak and the strong anchor (one alone where the other is unknown). Tasks of unknown difficulty come last, and
    ties are broken at random.

    T moves once for each wave, when the next one is selected, by the mean of all rewards that arrived in between.

    start: T at first. eta: η, the step size, in units of difficulty. alpha: α, the sensitivity to the reward.
    lowest, highest: d_min and d_max.
    """

    def __init__(
        self,
        pool: TaskPool,
        difficulty: str = ANCHORS,
        start: float = 0.0,
        eta: float = 50.0,
        alpha: float = 2.0,
        lowest: float = 0.0,
        highest: float = 100.0,
    ) -> None:
        super().__init__(pool)
        if not -np.inf < lowest <= start <= highest < np.inf:
            raise ValueError(
                f"start is {start}, lowest {lowest} and highest {highest}; the target starts between the two bounds"
            )
        self.eta, self.alpha = positive("eta", eta), positive("alpha", alpha)
        self.column, self.lowest, self.highest = difficulty, float(lowest), float(highest)
        self.target = float(start)
        self._difficulty = _difficulty(pool, difficulty)
        self._wave, self._arrived = -1, [0.0, 0.0]

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        if request.wave > self._wave:
            self._follow(request.p_star)
            self._wave = request.wave
        rows = free_rows(beliefs, request)
        return best(rows, -np.abs(self._difficulty[rows] - self.target), request.batch, rng)

    def _follow(self, p_star: float) -> None:
        """Move the target by the rewards that arrived since it last moved."""
        rewards, count = self._arrived
        if count > 0:
            step = self.eta * float(np.tanh(self.alpha * (rewards / count - p_star)))
            self.target = min(max(self.target + step, self.lowest), self.highest)
        self._arrived = [0.0, 0.0]

    def observe(self, observation: Observation) -> None:
        """See Selector."""
        self._arrived[0] += float(observation.successes.sum())
        self._arrived[1] += float(observation.rollouts.sum())

    def grow(self, pool: TaskPool) -> None:
        """New tasks have a difficulty of their own; the target stays."""
        self._difficulty = _difficulty(pool, self.column)
        super().grow(pool)

    def state_dict(self) -> dict[str, Any]:
        """The target, the latest wave, and the rewards since it was selected."""
        return {"target": self.target, "wave": self._wave, "arrived": list(self._arrived)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Selector."""
        self.target, self._wave = float(state["target"]), int(state["wave"])
        self._arrived = [float(number) for number in state["arrived"]]

    def metrics(self) -> dict[str, float]:
        """The target difficulty."""
        return {"target": self.target}


def _difficulty(pool: TaskPool, column: str) -> Float64:
    """Each task's difficulty, float64 (K,); NaN where unknown. Raises ValueError that names the column."""
    if column == ANCHORS:
        if not pool.has_anchors:
            raise ValueError(
                "selector 'adarft' needs the tasks' difficulties: name the pool's weak and strong columns, or a column "
                "of difficulties in the option `difficulty`"
            )
        return 100 * (1 - reference_rate(pool, "mean").astype(np.float64))
    if column not in pool.table.column_names:
        raise ValueError(
            f"difficulty is {column!r}, but the pool has the columns {', '.join(pool.table.column_names)}; name one of "
            f'them, or "{ANCHORS}"'
        )
    values = pool.table[column]
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise ValueError(f"difficulty is column {column!r} of type {values.type}; difficulties are numbers")
    known: Float64 = pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy()
    if np.isnan(known).all():
        raise ValueError(f"difficulty is column {column!r}, which has no value; name another")
    return known
