"""The allocation interface, from beliefs and a budget to rollouts per task, and the checks of its results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.pool.plug_in import PoolPlugIn
from bots.support.arrays import Float64, Rows

MOST = 8
"""Default upper bound of a group, as a multiple of n."""
ROUNDING = 1e-9
"""Share of the budget by which a sum of costs may exceed it: sums depend on their order."""


@dataclass(frozen=True)
class AllocationRequest:
    """The request to an allocation.

    - rows: int64 (B,), the selected tasks, distinct, in order of selection.
    - rollouts: n, the mean per task.
    - budget: total for the wave, in completions, or in the unit of `cost`.
    - least, most: bounds of a group, in completions; B·least completions never exceed the budget.
    - wave: number of the selection.
    - p_star: target success probability.
    - cost: float64 (B,), > 0, the cost of one completion of each task, e.g. its expected tokens; None: all cost 1.
    """

    rows: Rows
    rollouts: int
    budget: float
    least: int
    most: int
    wave: int = 0
    p_star: float = 0.5
    cost: Float64 | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def costs(self) -> Float64:
        """float64 (B,): the cost of one completion of each task."""
        return np.ones(len(self)) if self.cost is None else self.cost


class AllocationError(ValueError):
    """An allocation returned unusable group sizes; gives the plug-in and the fault."""


class Allocation(PoolPlugIn, ABC):
    """Decides how many rollouts each selected task gets.

    A custom allocation is a subclass named "module:Class" in the configuration and constructed as
    `cls(pool, **options)`. `bots.allocation.conformance` has the checks it must pass.

    least: smallest group, ≥ 2: a single completion has no advantage. most: largest group; None: 8 n.
    """

    staged = False
    """Whether groups are sampled in rounds; `more` is then called after each round."""

    def __init__(self, pool: TaskPool, least: int = 2, most: int | None = None) -> None:
        for name, value in (("least", least), ("most", least if most is None else most)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 2:
                raise ValueError(
                    f"{name} is {value!r}; a group has a whole number of completions, at least 2"
                )
        if most is not None and most < least:
            raise ValueError(f"most is {most}, less than least = {least}")
        super().__init__(pool)
        self.least, self.most = least, most

    @abstractmethod
    def allocate(self, beliefs: Belief, request: AllocationRequest, rng: np.random.Generator) -> Rows:
        """int64 (B,): how many completions of each task to draw, each from `least` to `most`.

        They use up the budget as far as whole completions and `most` allow. In a staged allocation they are the first
        round, which may cost less. All randomness comes from `rng`. The beliefs are read-only.
        """

    def more(self, rewards: Float64, rollouts: int) -> int:
        """How many more completions a group needs after a round; 0: it is complete.

        rewards: float64 (m,), the group's rewards so far, each in [0, 1]. rollouts: n, the mean per task.
        The result depends on nothing else, so that groups need not wait for each other.
        """
        return 0

    def bounds(self, rollouts: int) -> tuple[int, int]:
        """Smallest and largest group if n is `rollouts`. Raises ValueError if n is not between them."""
        most = max(self.least, MOST * rollouts) if self.most is None else self.most
        if not self.least <= rollouts <= most:
            raise ValueError(
                f"{rollouts} rollouts per task are not within the allocation's bounds, least = {self.least} and "
                f"most = {most}; change the number of rollouts, or allocation_options"
            )
        return self.least, most


def checked_sizes(name: str, sizes: object, request: AllocationRequest, staged: bool) -> Rows:
    """Check the result of the allocation called `name`; returns it as int64 (B,).

    Raises AllocationError unless it is one whole number per task, within the bounds, and uses up the budget: exactly if
    completions are counted, to within one completion if they have costs. A staged allocation may use less.
    """

    def fault(what: str) -> AllocationError:
        return AllocationError(f"allocation {name!r} returned {what}")

    array = np.asarray(sizes)
    if array.dtype.kind not in "iu":
        raise fault(f"dtype {array.dtype}; numbers of completions are integers")
    if array.shape != (len(request),):
        raise fault(f"shape {array.shape}; one number for each of {len(request)} tasks is expected")
    for bad, bound, what in (
        (array < request.least, request.least, "at least"),
        (array > request.most, request.most, "at most"),
    ):
        if bad.any():
            at = int(np.argmax(bad))
            raise fault(f"{array[at]} completions for row {request.rows[at]}; {what} {bound} are allowed")
    costs = request.costs
    spent, slack = float(array @ costs), ROUNDING * request.budget
    if spent > request.budget + slack:
        raise fault(f"group sizes that cost {spent:g}; the budget is {request.budget:g}")
    room = array < request.most
    if not staged and room.any():
        rest = 0 if request.cost is None else costs[room].max()
        if request.budget - spent > rest + slack:
            raise fault(
                f"group sizes that cost {spent:g}, although the budget of {request.budget:g} has room for more"
            )
    return array.astype(np.int64, copy=False)


def checked_more(name: str, count: object, held: int, most: int) -> int:
    """Check the result of `more`, of the allocation called `name`, for a group that holds `held` completions.

    Raises AllocationError unless it is a whole number ≥ 0 that keeps the group within `most`.
    """
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
        raise AllocationError(
            f"allocation {name!r} wants {count!r} more completions; it must be a whole number ≥ 0"
        )
    if count and held + count > most:
        raise AllocationError(
            f"allocation {name!r} wants {count} more completions for a group of {held}; a group has at most {most}"
        )
    return int(count)
