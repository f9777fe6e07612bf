"""VADE: Thompson sampling for the greatest information gain."""

from __future__ import annotations

import numpy as np

from bots.belief.base import Belief, BeliefModel
from bots.selection.base import SelectionRequest, Selector
from bots.selection.ranking import best, free_rows
from bots.support.arrays import Rows


class VADE(Selector):
    """Takes the tasks of greatest θ(1-θ)², with θ ~ Beta(α, β) drawn.

    Source: VADE (Hu et al. 2025, arXiv 2511.18902), from its abstract and the figure of its project page
    (vade-rl.github.io), without the full text: Thompson sampling of the information gain θ(1-θ)², greatest at θ = ⅓,
    where θ ~ Beta(a+1, b+1), with a and b counts of a task's own rollouts that decay at two scales. Of n rollouts of a
    task s are right:

        a ← λ₁·a + s,   b ← λ₁·b + n - s        for the tasks of the batch
        a ← λ₂·a,       b ← λ₂·b                for the others

    The numbers in that figure have λ₁ = 0.2 and λ₂ = 0.999. The name `vade` sets forgetting by observation with
    `lam` = 1-λ₁ = 0.8. λ₂ is taken as 1: over 150 steps 0.999 takes 14 % of a count at most.

    p* is not used.
    """

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        if isinstance(beliefs, BeliefModel):
            rows = free_rows(beliefs, request)
            theta = beliefs.sample(rng)[rows]
            return best(rows, theta * (1 - theta) ** 2, request.batch, rng)
        from bots.selection.nearest import least
        from bots.selection.scans import greatest_gain

        return least(
            greatest_gain,
            request.batch,
            beliefs.alpha,
            beliefs.beta,
            beliefs.blocked,
            self.codes(request.domain),
            request.domain,
            rng.integers(2**64, dtype=np.uint64),
        )
