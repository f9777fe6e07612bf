"""Checks that every allocation must pass. Its author runs them in a test file:

    import pytest
    from bots.allocation.conformance import CHECKS
    from mine import MyAllocation

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_allocation(check):
        check(lambda pool: MyAllocation(pool, my_parameter=3))

A factory takes a pool and returns a fresh allocation. The pools come from `bots.evidence.conformance.example_pool`;
n is 8, 16 or 64 in each check.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bots.allocation.base import Allocation, AllocationRequest, checked_more, checked_sizes
from bots.belief.columns import Beliefs
from bots.belief.prior import Prior
from bots.pool import TaskPool
from bots.pool.example import example_pool
from bots.selection.conformance import COLUMNS, example_beliefs
from bots.support.arrays import Float64, Rows

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


def _several(allocation: Allocation, beliefs: Beliefs, first: int = 0) -> list[list[int]]:
    return [
        _ask(allocation, beliefs, _rows(allocation.pool, 16, seed), seed=seed).tolist()
        for seed in range(first, first + 4)
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
    _ask(make(pool), Beliefs(pool, Prior(pool, (1.0, 1.0))), _rows(pool, 32))


def check_all_randomness_is_the_generator_s(make: Factory) -> None:
    """Two fresh allocations with generators of the same seed return the same sizes."""
    pool = example_pool()
    beliefs = example_beliefs(pool)
    if _several(make(pool), beliefs) != _several(make(pool), beliefs):
        raise AssertionError("two allocations with equal generators differ; draw only from `rng`")


def check_beliefs_untouched(make: Factory) -> None:
    """Allocating changes neither the beliefs nor the request's rows."""
    pool = example_pool()
    beliefs, rows = example_beliefs(pool), _rows(pool, 24)
    before, selected = {name: getattr(beliefs, name).copy() for name in COLUMNS}, rows.copy()
    _ask(make(pool), beliefs, rows)
    for name, column in before.items():
        if not np.array_equal(getattr(beliefs, name), column, equal_nan=column.dtype.kind == "f"):
            raise AssertionError(f"allocate changed the beliefs' column {name!r}")
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
    pool = example_pool()
    beliefs = example_beliefs(pool)
    original, restored = make(pool), make(pool)
    _several(original, beliefs)
    state = original.state_dict()
    expected = _several(original, beliefs, first=4)
    restored.load_state_dict(state)
    if _several(restored, beliefs, first=4) != expected:
        raise AssertionError(
            "after loading its state an allocation gives other sizes than the one that saved it"
        )


def check_growing(make: Factory) -> None:
    """After the pool has grown, new tasks get rollouts too, and the state fits an allocation built on the new pool."""
    small, large = example_pool(300), example_pool(420)
    grown = make(small)
    _several(grown, example_beliefs(small))
    grown.grow(large)
    beliefs = example_beliefs(large)
    _ask(grown, beliefs, np.arange(290, 420))
    fresh = make(large)
    fresh.load_state_dict(grown.state_dict())
    if _several(fresh, beliefs, first=8) != _several(grown, beliefs, first=8):
        raise AssertionError("a fresh allocation with the grown one's state gives other sizes")


def check_metrics(make: Factory) -> None:
    """Metrics are finite numbers, before and after allocating."""
    pool = example_pool()
    allocation, beliefs = make(pool), example_beliefs(pool)
    for _ in range(2):
        for name, value in allocation.metrics().items():
            if not np.isfinite(value):
                raise AssertionError(f"metric {name!r} is {value}")
        _several(allocation, beliefs)


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
