"""Checks that every selector must pass. Its author runs them in a test file:

    import pytest
    from bots.selection.conformance import CHECKS
    from mine import MySelector

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_selector(check):
        check(lambda pool: MySelector(pool, my_option=3))

A factory takes a pool and returns a fresh selector. The pools are those of `bots.pool.example`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bots.belief.columns import Beliefs
from bots.belief.example import example_beliefs, prior_beliefs, unchanged
from bots.pool import TaskPool
from bots.pool.example import example_pool
from bots.selection.base import SelectionRequest, Selector, checked_rows
from bots.support.arrays import Rows
from bots.support.conformance import (
    require_finite_metrics,
    require_growth,
    require_same_results,
    require_state,
)
from bots.support.observation import Observation

Factory = Callable[[TaskPool], Selector]


def _ask(
    selector: Selector,
    beliefs: Beliefs,
    batch: int,
    seed: int,
    domain: int = -1,
    blocked: Rows | None = None,
    p_star: float = 0.5,
) -> Rows:
    """One selection, checked as `BOTS` checks it."""
    beliefs.blocked[:] = 0
    if blocked is not None:
        beliefs.blocked[blocked] = 1
    eligible = beliefs.blocked == 0
    if domain >= 0:
        eligible &= beliefs.pool.domain_codes == domain
    request = SelectionRequest(batch, seed, p_star, domain, int(eligible.sum()))
    rows = selector.select(beliefs, request, np.random.default_rng(seed))
    checked = checked_rows(type(selector).__name__, rows, beliefs, request)
    beliefs.blocked[:] = 0
    return checked


def _several(selector: Selector, part: int, count: int = 5) -> list[list[int]]:
    """Selections one after the other; the selector observes each, with groups of different sizes."""
    beliefs, chosen = example_beliefs(selector.pool), []
    for seed in range(count * part, count * (part + 1)):
        rows = _ask(selector, beliefs, 16, seed)
        selector.observe(example_groups(rows, seed))
        chosen.append(rows.tolist())
    return chosen


def example_groups(rows: Rows, wave: int) -> Observation:
    """Groups of 1 to 16 rewards: all right, all wrong, mixed, and between 0 and 1; rows rising."""
    rng = np.random.default_rng(wave)
    rows = np.sort(rows)
    n = rng.integers(1, 17, len(rows)).astype(np.float64)
    mean = rng.choice([0.0, 1.0, 0.3, 0.7], len(rows))
    spread = np.where(rng.random(len(rows)) < 0.8, 1.0, 0.4)
    return Observation(wave, rows, mean * n, n, np.where(n > 1, mean * (1 - mean) * spread, 0.0))


def check_any_batch(make: Factory) -> None:
    """Batches from one task to the whole pool come back in full, distinct and in range."""
    pool = example_pool()
    beliefs = example_beliefs(pool)
    selector = make(pool)
    for batch in (1, 7, 256, len(pool)):
        _ask(selector, beliefs, batch, batch)


def check_blocked_rows_stay_out(make: Factory) -> None:
    """Blocked tasks are not selected, also where exactly as many are left as are requested."""
    pool = example_pool()
    beliefs = example_beliefs(pool)
    selector = make(pool)
    rng = np.random.default_rng(1)
    for left in (1, 16, 150):
        blocked = rng.permutation(len(pool))[left:]
        _ask(selector, beliefs, left, left, blocked=blocked)
        _ask(selector, beliefs, max(1, left // 2), left, blocked=blocked)


def check_domains(make: Factory) -> None:
    """A request for one domain gets tasks of that domain, also with some of them blocked."""
    pool = example_pool()
    beliefs = example_beliefs(pool)
    selector = make(pool)
    for domain in range(len(pool.domains)):
        own = np.flatnonzero(pool.domain_codes == domain)
        _ask(selector, beliefs, 10, domain, domain)
        _ask(selector, beliefs, len(own) // 2, domain, domain, blocked=own[::2])


def check_any_target(make: Factory) -> None:
    """p* near 0 and near 1 are fine."""
    pool = example_pool()
    beliefs = example_beliefs(pool)
    selector = make(pool)
    for p_star in (0.001, 0.3, 0.999):
        _ask(selector, beliefs, 32, 3, p_star=p_star)


def check_equal_beliefs(make: Factory) -> None:
    """Before the first observation every belief is the prior."""
    pool = example_pool()
    _ask(make(pool), prior_beliefs(pool), 32, 0)


def check_all_randomness_is_the_generator_s(make: Factory) -> None:
    """Two fresh selectors with generators of the same seed select the same rows."""
    require_same_results(lambda: make(example_pool()), _several)


def check_beliefs_untouched(make: Factory) -> None:
    """Selecting changes no belief."""
    pool = example_pool()
    selector, beliefs = make(pool), example_beliefs(pool)
    with unchanged(beliefs):
        for seed in range(5):
            _ask(selector, beliefs, 16, seed)


def check_state_restores_exactly(make: Factory) -> None:
    """A selector that loads another's state continues exactly like it, and shares no memory with it."""
    require_state(lambda: make(example_pool()), _several)


def check_growing(make: Factory) -> None:
    """After the pool has grown, new tasks can be selected, and the state fits a selector made with the new pool."""
    small, large = example_pool(300), example_pool(420)
    grown = make(small)
    _several(grown, 0)
    grown.grow(large)
    _ask(grown, example_beliefs(large), 100, 9, blocked=np.arange(300))
    require_growth(grown, make(large), _several)


def check_observing(make: Factory) -> None:
    """Groups that come late, in parts, out of order or far ahead break nothing, and raise nothing."""
    pool = example_pool()
    selector, beliefs = make(pool), example_beliefs(pool)
    rows = _ask(selector, beliefs, 64, 0)
    parts = {0: rows[:1], 1: rows[1:30], 7: rows[30:], 3: rows[:5], 9_000: rows[5:9], 2: rows}
    for wave, part in parts.items():
        selector.observe(example_groups(part, wave))
        _ask(selector, beliefs, 64, wave)
    for wave in range(9_001, 9_030):  # every task right, so that there is nothing left to learn from
        groups = np.arange(len(pool), dtype=np.int64)
        selector.observe(Observation.of_rates(wave, groups, 1.0, 8))
        _ask(selector, beliefs, 1, wave, blocked=groups[1:])


def check_metrics(make: Factory) -> None:
    """Metrics are finite numbers, before and after selecting."""
    require_finite_metrics(make(example_pool()), _several)


CHECKS: tuple[Callable[[Factory], None], ...] = (
    check_any_batch,
    check_blocked_rows_stay_out,
    check_domains,
    check_any_target,
    check_equal_beliefs,
    check_all_randomness_is_the_generator_s,
    check_beliefs_untouched,
    check_state_restores_exactly,
    check_growing,
    check_observing,
    check_metrics,
)
