"""The posterior mean instead of a draw: `greedy`, and `dots` with λ = ρ = 1."""

from __future__ import annotations

import numpy as np

from bots.belief.base import Belief, BeliefModel
from bots.selection.base import SelectionRequest, Selector
from bots.support.arrays import Rows


class Greedy(Selector):
    """Takes the tasks with the least |α/(α+β) - p*|, nearest first; ties (within 1e-12) at random."""

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        if isinstance(beliefs, BeliefModel):
            return beliefs.nearest(request.batch, request.p_star, request.domain, rng, draw=False)
        from bots.selection.nearest import least
        from bots.selection.scans import nearest_means

        return least(
            nearest_means,
            request.batch,
            beliefs.alpha,
            beliefs.beta,
            beliefs.blocked,
            self.codes(request.domain),
            request.domain,
            request.p_star,
            rng.integers(2**64, dtype=np.uint64),
        )
