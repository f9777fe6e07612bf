"""The other selectors, quotas, cool-down, retirement and the dynamic filter."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, DynamicFilter, TaskPool
from bots.selection import BUILT_IN


def make_pool(tasks, seed=0):
    rng = np.random.default_rng(seed)
    weak = (rng.random(tasks) * 0.5).astype(np.float32)
    strong = np.minimum(1, weak + 0.1 + rng.random(tasks) * 0.4).astype(np.float32)
    domain = np.array(["math", "code", "logic"])[np.minimum(np.arange(tasks) * 4 // tasks, 2)]
    columns = {"weak": weak, "strong": strong, "domain": domain}
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(rng.normal(size=3 * tasks), 3)
    return TaskPool.from_arrow(pa.table(columns), "weak", "strong")


def coin(rng, rates, n=8):
    return (rng.random((len(rates), n)) < np.asarray(rates)[:, None]).astype(float)


@pytest.mark.parametrize("selector", BUILT_IN)
@pytest.mark.parametrize("shares", [None, {"math": 1, "code": 2, "logic": 1}])
def test_batches_are_distinct_and_avoid_the_excluded(selector, shares):
    pool = make_pool(120)
    bots = BOTS(pool, selector=selector, domain_shares=shares)
    rng = np.random.default_rng(1)
    before = np.empty(0, np.int64)
    for _ in range(20):
        rows = bots.select(32, exclude=before)
        assert rows.shape == (32,)
        assert rows.dtype == np.int64
        assert len(set(rows.tolist())) == 32
        assert not set(rows.tolist()) & set(before.tolist())
        bots.observe(rows, coin(rng, pool.strong[rows]))
        before = rows
    assert not bots._parts.beliefs.blocked.any()
    assert len(set(bots.select(120).tolist())) == 120


@pytest.mark.parametrize("tasks", [1, 2, 5, 64, 65, 1000])
def test_random_visits_every_task_once_an_epoch(tasks):
    bots = BOTS(TaskPool(pa.table({"x": np.arange(tasks)})), selector="random", evidence="none")
    epochs = [np.concatenate([bots.select(1) for _ in range(tasks)]) for _ in range(3)]
    assert all(sorted(epoch) == list(range(tasks)) for epoch in epochs)
    if tasks >= 64:
        assert (epochs[0] != epochs[1]).any()
        assert abs(np.corrcoef(epochs[0], np.arange(tasks))[0, 1]) < 5 / np.sqrt(tasks)


def test_random_is_uniform():
    """Each task equally often in the first ten of a hundred, over many seeds."""
    pool = TaskPool(pa.table({"x": np.arange(100)}))
    rounds = 2000
    counts = np.zeros(100)
    for seed in range(rounds):
        counts[BOTS(pool, selector="random", evidence="none", seed=seed).select(10)] += 1
    chi2 = np.sum((counts - rounds / 10) ** 2) / (rounds / 10 * 0.9)
    assert chi2 < 160  # 99 degrees of freedom: one in 10,000


def test_random_puts_off_what_is_in_flight():
    bots = BOTS(TaskPool(pa.table({"x": np.arange(10)})), selector="random", evidence="none")
    first = bots.select(5, exclude=[0, 1, 2])
    second = bots.select(5)
    assert sorted([*first, *second]) == list(range(10))


def test_offline_goes_from_easy_to_hard_and_starts_anew():
    weak = np.array([0.1, 0.8, np.nan, 0.5, np.nan], np.float32)
    strong = np.array([0.3, 0.9, 0.7, 0.6, np.nan], np.float32)
    pool = TaskPool.from_arrow(pa.table({"w": weak, "s": strong}), "w", "s")
    bots = BOTS(pool, selector="offline")
    assert bots.select(3).tolist() == [1, 2, 3]
    assert bots.select(3).tolist() == [0, 4, 1]
    assert BOTS(pool, selector="offline", selector_options={"reference": "weak"}).select(2).tolist() == [1, 3]


def test_greedy_takes_the_nearest_means_and_breaks_ties_at_random():
    pool = TaskPool(pa.table({"x": np.arange(1000)}))
    alpha, beta = np.full(1000, 9.0), np.full(1000, 1.0)
    alpha[[5, 70, 900]] = 1, 1.2, 0.9
    bots = BOTS(pool, selector="greedy", evidence="none", prior=(alpha, beta))
    assert set(bots.select(3).tolist()) == {5, 70, 900}
    ties = BOTS(pool, selector="greedy", evidence="none").select(100)
    assert 350 < ties.mean() < 650


def test_dots_follows_the_newest_implicit_evidence_alone():
    """λ = ρ = 1: α = α0 + n·p̃ outside the batch, whatever happened before."""
    pool = make_pool(400)
    bots = BOTS(pool, selector="dots")
    rng = np.random.default_rng(0)
    for _ in range(5):
        rows = bots.select(64)
        bots.observe(rows, coin(rng, (pool.weak + pool.strong)[rows] / 2, 16))
    metrics = bots.metrics()
    others = np.setdiff1d(np.arange(400), rows)
    assert (bots.alpha + bots.beta)[others] == pytest.approx(18)
    assert metrics["lam"] == metrics["rho"] == 1
    mean = bots.predict_mean(bots.select(32))
    assert np.abs(mean - 0.5).max() <= np.sort(np.abs(bots.alpha / (bots.alpha + bots.beta) - 0.5))[31]


def test_variance_prefers_groups_that_vary():
    """Same mean reward, but only every second task's rewards differ within a group."""
    pool = TaskPool(pa.table({"x": np.arange(200)}))
    bots = BOTS(pool, selector="variance", evidence="none")
    for _ in range(6):
        rows = bots.select(100)
        varied = np.tile([0.0, 1.0], 4)
        bots.observe(rows, [varied if row % 2 else np.full(8, 0.5) for row in rows.tolist()])
    assert (bots.select(60) % 2).mean() > 0.9


def test_shares_are_kept_over_time_and_unfilled_parts_go_to_the_others():
    pool = make_pool(400)
    bots = BOTS(pool, domain_shares={"math": 0.55, "code": 0.35, "logic": 0.1})
    codes = pool.domain_codes
    counts = sum(np.bincount(codes[bots.select(7)], minlength=3) for _ in range(100))
    assert counts == pytest.approx([385, 245, 70], abs=2)
    only = BOTS(pool, domain_shares={"code": 1})
    assert (codes[only.select(100)] == 1).all()
    assert np.bincount(codes[only.select(150)], minlength=3)[1] == 100


def test_source_weights_multiply_the_share_that_a_domain_has_by_its_size():
    weighted = pa.table({"domain": ["math"] * 300 + ["code"] * 100, "weight": [1.0] * 300 + [3.0] * 100})
    pool = TaskPool(weighted)
    bots = BOTS(pool, evidence="none", domain_shares="weights")
    counts = sum(np.bincount(pool.domain_codes[bots.select(10)], minlength=2) for _ in range(20))
    assert counts == pytest.approx([100, 100], abs=1)


def test_cooldown_keeps_a_task_away_for_so_many_steps():
    bots = BOTS(make_pool(100), cooldown=2)
    picks = [set(bots.select(25).tolist()) for _ in range(6)]
    for i, pick in enumerate(picks):
        for earlier in picks[max(0, i - 2) : i]:
            assert not pick & earlier
    # 50 of 100 rest: 60 can only be had by waking them.
    bots.select(60)
    assert bots.metrics()["eligibility/readmitted"] > 0


def test_no_more_than_half_of_the_pool_cools_down():
    bots = BOTS(make_pool(100), cooldown=40)
    picks = [set(bots.select(20).tolist()) for _ in range(8)]
    for i, pick in enumerate(picks):
        for earlier in picks[max(0, i - 2) : i]:
            assert not pick & earlier, "2 steps rest, and 60 tasks are left to choose from"
    assert any(pick & earlier for earlier, pick in zip(picks, picks[3:], strict=False))
    assert bots.metrics()["eligibility/readmitted"] == 0


def test_no_more_than_half_of_a_domain_with_a_share_cools_down():
    pool = TaskPool(pa.table({"domain": ["large"] * 1000 + ["small"] * 30}))
    bots = BOTS(pool, domain_shares={"large": 1, "small": 1}, cooldown=15)
    before = np.empty(0, np.int64)
    for _ in range(12):
        rows = bots.select(20)
        small = rows[rows >= 1000]
        assert len(small) == 10
        assert not np.isin(small, before).any(), "one step's rest, and 20 are left to choose from"
        before = small


def test_mastered_tasks_retire_until_their_recheck():
    bots = BOTS(make_pool(40), retire_above=0.8, recheck=5, cooldown=0, evidence="none")
    bots.observe([3, 4], [[1.0] * 16, [0.0] * 16], 0)
    assert bots.metrics()["eligibility/retired"] == 1
    assert 3 not in bots.select(39, 4)
    assert 4 in bots.select(39, 4)
    assert 3 in bots.select(40, 5)
    bots.observe([3], [[0.0] * 16], 6)
    assert bots.metrics()["eligibility/retired"] == 0


@pytest.mark.parametrize("selector", ["bots", "random"])
def test_dynamic_filter_fills_a_batch_with_groups_that_vary(selector):
    pool = make_pool(2000)
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(2000) < 0.5, 0.0, 0.5)
    bots = BOTS(pool, selector=selector)
    batch = DynamicFilter(batch=32, oversample=1.25, rounds=8)
    trained = 0
    while wanted := batch.wanted():
        rows = bots.select(wanted, 0, exclude=batch.seen)
        rewards = coin(rng, truth[rows])
        bots.observe(rows, rewards, 0)
        trained += int(batch.add(rows, rewards).sum())
    assert batch.complete
    assert trained == len(batch.kept) == len(set(batch.kept.tolist())) == 32
    assert (truth[batch.kept] == 0.5).all()
    assert len(set(batch.seen.tolist())) == len(batch.seen)


def test_dynamic_filter_that_replaces_each_requests_no_group_beyond_a_full_batch():
    batch = DynamicFilter(batch=3, rounds=2, refill="each")
    mixed, equal = [[0.0, 1.0]], [[1.0, 1.0]]
    assert batch.wanted() == 3
    assert batch.add([4], equal).tolist() == [False]
    assert batch.wanted(in_progress=2) == 1
    assert batch.wanted(in_progress=3) == 0
    assert batch.add([2], mixed).tolist() == [True]
    assert batch.wanted(in_progress=2) == 0
    assert batch.wanted(in_progress=1) == 1, "one could not be graded"
    assert batch.add([0, 7], [*equal, *mixed]).tolist() == [False, True]
    assert batch.wanted() == 1
    assert batch.wanted(lost=1) == 1
    assert batch.wanted(lost=2) == 0, "six tasks were requested"
    batch.add([9], mixed)
    assert batch.complete
    assert (batch.kept.tolist(), batch.seen.tolist()) == ([2, 7, 9], [4, 2, 0, 7, 9])


def test_dynamic_filter_that_replaces_each_stops_after_as_many_tasks_as_its_rounds_may_have():
    batch = DynamicFilter(batch=4, rounds=2, refill="each")
    requested = 0
    while wanted := batch.wanted():
        batch.add(np.arange(requested, requested + wanted), np.ones((wanted, 8)))
        requested += wanted
    assert requested == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rounds": 1.5}, "rounds is 1.5; it must be a whole number of at least 1"),
        ({"refill": "all"}, 'refill is \'all\'; it must be "rounds" or "each"'),
        (
            {"refill": "each", "oversample": 1.5},
            'oversample is 1.5; with refill="each" it must be 1, or left out',
        ),
    ],
)
def test_dynamic_filter_refuses_what_does_not_go_together(options, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        DynamicFilter(batch=4, **options)


def test_dynamic_filter_is_not_taken_in_by_rounding():
    batch = DynamicFilter(batch=4)
    assert batch.add(np.arange(4), [[0.1] * n for n in (3, 6, 12, 24)]).tolist() == [False] * 4


def test_dynamic_filter_asks_anew_where_not_one_group_came_back():
    batch = DynamicFilter(batch=4, oversample=1.5, rounds=2)
    batch.add(np.empty(0, np.int64), [])
    assert batch.wanted() == 6
    batch.add(np.empty(0, np.int64), [])
    assert batch.wanted() == 0


def test_dynamic_filter_gives_up_after_its_rounds():
    batch = DynamicFilter(batch=4, oversample=1.0, rounds=2)
    for start in (0, 4):
        assert batch.wanted() == 4
        batch.add(np.arange(start, start + 4), np.ones((4, 8)))
    assert batch.wanted() == 0
    assert not batch.complete


def test_users_own_selector():
    from bots.selection import Selector

    class First(Selector):
        def select(self, beliefs, request, rng):
            return np.flatnonzero(beliefs.blocked == 0)[: request.batch]

    globals()["First"] = First
    bots = BOTS(make_pool(10), selector=f"{__name__}:First")
    assert bots.select(3, exclude=[1]).tolist() == [0, 2, 3]
