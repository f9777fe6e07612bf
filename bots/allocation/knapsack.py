"""Knapsack RL: the budget goes where a task's value increases most."""

from __future__ import annotations

import numpy as np

from bots.allocation.base import Allocation, AllocationRequest
from bots.allocation.greedy import spend
from bots.belief.base import Belief
from bots.support.arrays import Float64, Rows


class Knapsack(Allocation):
    """Maximises Σ_k Value(n_k, p_k) within the budget (Knapsack RL, arXiv 2509.25849, section 4).

        Value(n, p) = (1 - p^n - (1-p)^n) · p·(1-p)²

    The first factor is the probability that n rollouts give a non-zero gradient. The second is the paper's InfoGain,
    the increase in p from one gradient step: p(1-p) in the logit, times 1-p. Hard tasks thus count more than easy ones.

    p is the belief's mean; the paper uses the pass rate of the task's last group. A mean is never 0 or 1, so the
    paper's fallback for such tasks is not needed. The paper solves the knapsack by dynamic programming. The value is
    concave in n, so taking the largest gains first finds the same optimum.

    least, most: as in Allocation; the paper uses 2 and 128.
    """

    def allocate(self, beliefs: Belief, request: AllocationRequest, rng: np.random.Generator) -> Rows:
        """See Allocation."""
        return spend(gains(beliefs.mean(request.rows), request.least, request.most), request)


def gains(p: Float64, least: int, most: int) -> Float64:
    """Value(n + 1, p) - Value(n, p) for n from `least` to `most` - 1, float64 (B, most - least).

    p: float64 (B,). The gain is (p^n·(1-p) + (1-p)^n·p) · p·(1-p)².
    """
    n, p = np.arange(least, most)[None, :], p[:, None]
    mixed = p**n * (1 - p) + (1 - p) ** n * p
    gain: Float64 = mixed * p * (1 - p) ** 2
    return gain
