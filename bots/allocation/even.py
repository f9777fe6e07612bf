"""The same number of rollouts for every task."""

from __future__ import annotations

import numpy as np

from bots.allocation.base import ROUNDING, Allocation, AllocationRequest
from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.support.arrays import Rows


class Even(Allocation):
    """n rollouts for every task, as in GRPO and in the BOTS paper.

    A budget other than B·n completions is divided as evenly as whole completions allow; the first tasks get the rest.
    """

    def __init__(self, pool: TaskPool) -> None:
        super().__init__(pool)

    def bounds(self, rollouts: int) -> tuple[int, int]:
        """No bound except n."""
        return min(self.least, rollouts), 2**31 - 1

    def allocate(self, beliefs: Belief, request: AllocationRequest, rng: np.random.Generator) -> Rows:
        """See Allocation."""
        if request.cost is None:
            base, rest = divmod(int(request.budget), len(request))
            return np.full(len(request), base, np.int64) + (np.arange(len(request)) < rest)
        # n completions of each cost n times the sum of the costs, but for rounding.
        budget = request.budget * (1 + ROUNDING)
        sizes = np.full(len(request), int(budget / request.costs.sum()), np.int64)
        left = budget - float(sizes @ request.costs)
        for place, cost in enumerate(request.costs.tolist()):
            if cost <= left:
                sizes[place] += 1
                left -= cost
        return sizes
