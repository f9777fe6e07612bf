"""For non-binary rewards: select the tasks whose rewards vary most within a group."""

from __future__ import annotations

import numpy as np

from bots.belief.base import Belief, BeliefModel
from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector
from bots.support.arrays import Rows


class Variance(Selector):
    """Takes the tasks of greatest expected reward variance φ·θ(1-θ), with θ ~ Beta(α, β) drawn.

    φ is the task's `dispersion`: its groups' variance over the greatest possible one, r̄(1-r̄). Binary rewards have
    φ = 1, and the selection then equals that of `bots` with p* = ½. p* is not used.

    unknown: φ of tasks that had no group with 0 < r̄ < 1 yet, in [0, 1]; 1 explores them first.
    """

    def __init__(self, pool: TaskPool, unknown: float = 1.0) -> None:
        super().__init__(pool)
        if not 0 <= unknown <= 1:
            raise ValueError(f"unknown is {unknown}; it must be in [0, 1]")
        self.unknown = float(unknown)

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        if isinstance(beliefs, BeliefModel):
            return self._sampled(beliefs, request, rng)
        from bots.selection.nearest import least
        from bots.selection.scans import greatest_variance

        return least(
            greatest_variance,
            request.batch,
            beliefs.alpha,
            beliefs.beta,
            beliefs.dispersion,
            self.unknown,
            beliefs.blocked,
            self.codes(request.domain),
            request.domain,
            rng.integers(2**64, dtype=np.uint64),
        )

    def _sampled(self, beliefs: BeliefModel, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """The same by draws for every task."""
        theta = beliefs.sample(rng)
        phi = np.where(np.isnan(beliefs.dispersion), self.unknown, beliefs.dispersion)
        worth = phi * theta * (1 - theta)
        codes = self.codes(request.domain)
        worth[(beliefs.blocked > 0) | ((codes != request.domain) if len(codes) else False)] = -1
        rows: Rows = np.argpartition(-worth, request.batch - 1)[: request.batch].astype(np.int64)
        ordered: Rows = rows[np.lexsort((rows, -worth[rows]))]
        return ordered
