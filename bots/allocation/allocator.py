"""A run's allocation plug-in with its n and bounds. Every call to it and every result is checked."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from bots.allocation import make_allocation
from bots.allocation.base import ROUNDING, AllocationRequest, checked_more, checked_sizes
from bots.belief.base import Belief
from bots.pool import TaskPool, check_rows
from bots.support.arrays import Float64, Rows
from bots.support.checks import whole


class Allocator:
    """Gets group sizes from the allocation called `name`. rollouts: n.

    Raises ValueError for a name, options or n that the allocation does not accept.
    """

    def __init__(self, name: str, pool: TaskPool, options: dict[str, Any], rollouts: int) -> None:
        self.name, self.rollouts = name, rollouts
        self.plug_in = make_allocation(name, pool, options)
        self.least, self.most = self.plug_in.bounds(rollouts)

    @property
    def staged(self) -> bool:
        """Whether groups are sampled in rounds."""
        return self.plug_in.staged

    def allocate(
        self,
        beliefs: Belief,
        rows: npt.ArrayLike,
        wave: int,
        p_star: float,
        rng: np.random.Generator,
        budget: float | None = None,
        cost: npt.ArrayLike | None = None,
    ) -> Rows:
        """See `BOTS.allocate`."""
        checked = check_rows(beliefs.pool, rows)
        if len(checked) == 0:
            return np.empty(0, np.int64)
        if len(np.unique(checked)) < len(checked):
            raise ValueError("rows holds a task twice; a wave has distinct tasks")
        costs = None if cost is None else _costs(cost, len(checked))
        of_one_each = float(len(checked) if costs is None else costs.sum())
        if budget is None:
            budget = self.rollouts * of_one_each
        elif costs is None:
            budget = whole("budget", budget, 1)
        if not self.least * of_one_each <= budget * (1 + ROUNDING) < inf:
            raise ValueError(
                f"budget is {budget:g}, but {len(checked)} tasks cost at least {self.least * of_one_each:g} with "
                f"{self.least} completions each; raise the budget, or select fewer tasks"
            )
        request = AllocationRequest(
            checked, self.rollouts, budget, self.least, self.most, wave, p_star, costs
        )
        return checked_sizes(self.name, self.plug_in.allocate(beliefs, request, rng), request, self.staged)

    def more(self, rewards: npt.ArrayLike) -> int:
        """See `BOTS.more_rollouts`."""
        held = np.asarray(rewards, np.float64)
        return checked_more(self.name, self.plug_in.more(held, self.rollouts), len(held), self.most)

    def grow(self, pool: TaskPool) -> None:
        """Tell the plug-in that the pool gained rows at the end."""
        self.plug_in.grow(pool)

    def state_dict(self) -> dict[str, Any]:
        """The plug-in's state."""
        return self.plug_in.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the plug-in's state."""
        self.plug_in.load_state_dict(state)

    def metrics(self) -> dict[str, float]:
        """The plug-in's metrics."""
        return self.plug_in.metrics()


def _costs(cost: npt.ArrayLike, tasks: int) -> Float64:
    """The costs as float64 (tasks,). Raises ValueError unless each is a finite number > 0."""
    costs = np.asarray(cost, np.float64)
    if costs.shape != (tasks,):
        raise ValueError(f"cost has shape {costs.shape}; it must be ({tasks},), one for each task")
    bad = ~(np.isfinite(costs) & (costs > 0))
    if bad.any():
        raise ValueError(f"cost[{int(np.argmax(bad))}] is {costs[bad][0]}; it must be a finite number > 0")
    return costs
