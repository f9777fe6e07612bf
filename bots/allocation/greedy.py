"""Spends a budget where each additional completion gains most: optimal for concave values."""

from __future__ import annotations

import numpy as np

from bots.allocation.base import ROUNDING, AllocationRequest
from bots.support.arrays import Float64, Rows


def spend(gains: Float64, request: AllocationRequest) -> Rows:
    """int64 (B,): the group sizes with the largest total gain within the budget.

    gains: float64 (B, N), ≥ 0: what completion least + 1 + j of a task adds. Each row must decrease, because each
        additional completion adds less; then taking the largest gains first is optimal (Fox, "Discrete optimization via
        marginal analysis", Management Science 13(3), 1966). With costs, the largest gain per cost goes first, which is
        optimal except for the last completion.
    Ties go to the smaller group, then to the task selected earlier. Budget left once no task gains is spread likewise.
    """
    tasks, costs = len(request), request.costs
    left = request.budget - request.least * float(costs.sum())
    room = request.most - request.least
    gains = gains[:, :room]
    # Completions without gain still use up the budget.
    without = min(room, int(left / costs.min()) + 1) - gains.shape[1]
    gains = np.pad(gains, ((0, 0), (0, max(0, without))))
    # Rounding errors must not put a later completion ahead of an earlier one.
    worth = np.minimum.accumulate(gains, axis=1) / costs[:, None]
    task = np.repeat(np.arange(tasks), gains.shape[1])
    number = np.tile(np.arange(gains.shape[1]), tasks)
    order = np.lexsort((task, number, -worth.ravel()))
    if request.cost is None:
        taken = task[order[: round(left)]]
        return request.least + np.bincount(taken, minlength=tasks).astype(np.int64)
    sizes, slack = np.full(tasks, request.least, np.int64), ROUNDING * request.budget
    closed = np.zeros(tasks, np.bool_)
    for k in task[order].tolist():
        if closed[k]:
            continue
        if costs[k] > left + slack:
            closed[k] = True
            continue
        left -= costs[k]
        sizes[k] += 1
    return sizes
