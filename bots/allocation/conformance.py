"""Checks that every allocation must pass. Its author runs them in a test file:

    import pytest
    from bots.allocation.conformance import CHECKS
    from mine import MyAllocation

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_allocation(check):
        check(lambda pool: MyAllocation(pool, my_parameter=3))

A factory takes a pool and returns a fresh allocation. The pools are those of `bots.pool.example`; n is 8, 16 or
64 in each check.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bots.allocation.base import Allocation, AllocationRequest, checked_more, checked_sizes
from bots.belief.columns import Beliefs
from bots.belief.example import example_beliefs, prior_beliefs, unchanged
from bots.pool import TaskPool
from bots.pool.example import example_pool
from bots.support.arrays import Float64, Rows
from bots.support.conformance import (
    require_finite_metrics,
    require_growth,
    require_same_results,
    require_state,
)

Factory = Callable[[TaskPool], Allocation]


def _ask(
    allocation: Allocation,
    beliefs: Beliefs,
    rows: Rows,
    rollouts: int = 8,
    budget: float | None = None,
    cost: Float64 | None = None,
    seed: int = 0,
) -> Rows:
    """One allocation, checked as `BOTS` checks it."""
    least, most = allocation.bounds(rollouts)
    each = float(len(rows) if cost is None else cost.sum())
    request = AllocationRequest(
        rows, rollouts, rollouts * each if budget is None else budget, least, most, seed, cost=cost
    )
    sizes = allocation.allocate(beliefs, request, np.random.default_rng(seed))
    return checked_sizes(type(allocation).__name__, sizes, request, allocation.staged)


def _rows(pool: TaskPool, count: int, seed: int = 0) -> Rows:
    return np.random.default_rng(seed).permutation(len(pool))[:count].astype(np.int64)


def _several(allocation: Allocation, part: int, count: int = 4) -> list[list[int]]:
    pool = allocation.pool
    beliefs = example_beliefs(pool)
    return [
        _ask(allocation, beliefs, _rows(pool, 16, seed), seed=seed).tolist()
        for seed in range(count * part, count * (part + 1))
    ]


def check_any_wave(make: Factory) -> None:
    """Waves of any size, from one task to the whole pool, get groups within the bounds that use up the budget."""
    pool = example_pool()
    beliefs, allocation = example_beliefs(pool), make(pool)
    for count in (1, 2, 7, 64, len(pool)):
        for rollouts in (8, 16, 64):
            _ask(allocation, beliefs, _rows(pool, count), rollouts)


def check_any_budget(make: Factory) -> None:
    """Budgets from the smallest possible to more than n per task, including ones that don't divide evenly."""
    pool = example_pool()
    beliefs, allocation, rows = example_beliefs(pool), make(pool), _rows(pool, 24)
    least, most = allocation.bounds(8)
    for budget in (24 * least, 24 * least + 1, 24 * 8 + 5, 24 * min(most, 20) - 1):
        if budget >= 24 * least:
            _ask(allocation, beliefs, rows, 8, budget)


def check_costs(make: Factory) -> None:
    """If completions have unequal costs, the groups use up a budget in that unit."""
    pool = example_pool()
    beliefs, allocation, rows = example_beliefs(pool), make(pool), _rows(pool, 24)
    rng = np.random.default_rng(2)
    for cost in (np.full(24, 3.5), 10 ** rng.uniform(1, 3, 24)):
        _ask(allocation, beliefs, rows, cost=cost)


def check_equal_beliefs(make: Factory) -> None:
    """Before the first observation every belief is the prior."""
    pool = example_pool()
    _ask(make(pool), prior_beliefs(pool), _rows(pool, 32))


def check_all_randomness_is_the_generator_s(make: Factory) -> None:
    """Two fresh allocations with generators of the same seed return the same sizes."""
    require_same_results(lambda: make(example_pool()), _several)


def check_beliefs_untouched(make: Factory) -> None:
    """Allocating changes neither the beliefs nor the request's rows."""
    pool = example_pool()
    beliefs, rows = example_beliefs(pool), _rows(pool, 24)
    selected = rows.copy()
    with unchanged(beliefs):
        _ask(make(pool), beliefs, rows)
    if not np.array_equal(rows, selected):
        raise AssertionError("allocate changed the request's rows")


def check_rounds_end(make: Factory) -> None:
    """Whatever the rewards, a group is complete within `most`; `more` depends only on the rewards."""
    pool = example_pool()
    beliefs, allocation, rng = example_beliefs(pool), make(pool), np.random.default_rng(3)
    for rollouts in (8, 16):
        _, most = allocation.bounds(rollouts)
        (first,) = _ask(allocation, beliefs, _rows(pool, 1), rollouts).tolist()
        for p in (0.0, 0.02, 0.3, 0.5, 1.0):
            rewards = (rng.random(first) < p).astype(np.float64)
            while True:
                count = allocation.more(rewards, rollouts)
                checked_more(type(allocation).__name__, count, len(rewards), most)
                if count != make(pool).more(rewards.copy(), rollouts):
                    raise AssertionError("`more` depends on something besides the group's rewards")
                if not count:
                    break
                if not allocation.staged:
                    raise AssertionError(f"`more` wants {count} more, but `staged` is false")
                rewards = np.append(rewards, (rng.random(count) < p).astype(np.float64))


def check_state_restores_exactly(make: Factory) -> None:
    """An allocation that loads another's state continues exactly like it and shares no memory with it."""
    require_state(lambda: make(example_pool()), _several)


def check_growing(make: Factory) -> None:
    """After the pool has grown, new tasks get rollouts too, and the state fits an allocation built on the new pool."""
    small, large = example_pool(300), example_pool(420)
    grown = make(small)
    _several(grown, 0)
    grown.grow(large)
    _ask(grown, example_beliefs(large), np.arange(290, 420))
    require_growth(grown, make(large), _several)


def check_metrics(make: Factory) -> None:
    """Metrics are finite numbers, before and after allocating."""
    require_finite_metrics(make(example_pool()), _several)


CHECKS: tuple[Callable[[Factory], None], ...] = (
    check_any_wave,
    check_any_budget,
    check_costs,
    check_equal_beliefs,
    check_all_randomness_is_the_generator_s,
    check_beliefs_untouched,
    check_rounds_end,
    check_state_restores_exactly,
    check_growing,
    check_metrics,
)
