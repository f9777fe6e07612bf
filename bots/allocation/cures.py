"""CurES: rollouts in proportion to the deviation of a task's rewards."""

from __future__ import annotations

import numpy as np

from bots.allocation.base import Allocation, AllocationRequest
from bots.allocation.greedy import spend
from bots.belief.base import Belief
from bots.support.arrays import Rows


class CurESAllocation(Allocation):
    """Group sizes n_k ∝ √(p̄_k(1-p̄_k)) within the budget, p̄ = α/(α+β).

    Source: CurES (Zeng et al. 2025, arXiv 2510.01037): the sizes that minimise the variance Σ_k σ_k²/n_k of the batch's
    gradient are n_k ∝ σ_k, and

        σ² = p(1-p)²·g₊² + p²(1-p)·g₋² - p²(1-p)²·(g₊-g₋)²

    with the mean squared gradient norms g₊² and g₋² of right and wrong completions. Beliefs hold no gradients: with
    g₊ = g₋ = 1, σ² = p(1-p). Whole numbers within the bounds are found by giving the next completion where it lowers
    the variance most, σ²/(n(n+1)), which is optimal.

    The paper measures σ once, from `N_min` rollouts of each task, and keeps the sizes; here they follow the beliefs.

    least, most: as in Allocation.
    """

    def allocate(self, beliefs: Belief, request: AllocationRequest, rng: np.random.Generator) -> Rows:
        """See Allocation."""
        p = beliefs.mean(request.rows)
        n = np.arange(request.least, request.most)
        return spend((p * (1 - p))[:, None] / (n * (n + 1))[None, :], request)
