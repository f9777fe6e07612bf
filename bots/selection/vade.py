"""VADE: Thompson sampling for the greatest information gain."""

from __future__ import annotations

import numpy as np

from bots.belief.base import Belief, BeliefModel
from bots.selection.base import SelectionRequest, Selector
from bots.selection.ranking import best, free_rows
from bots.support.arrays import Rows


class VADE(Selector):
    """Takes the tasks of greatest θ(1-θ)², with θ ~ Beta(α, β) drawn.

    Source: VADE (Hu et al. 2025, arXiv 2511.18902): a Beta belief for each task from its own rollouts, Thompson
    sampling of the information gain θ(1-θ)², greatest at θ = ⅓, and a decay of the beliefs at two scales. This was
    written from the abstract and from summaries by others, without the full text: the form of the gain is from these,
    and the decay is not known to us. By default nothing decays; `lam`, with forgetting by step or by observation, sets
    a decay at one of the two scales.

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
