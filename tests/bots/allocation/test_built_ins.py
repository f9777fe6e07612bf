"""The built-in allocations against hand-worked examples and brute force."""

from itertools import product
from math import comb, sqrt

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, TaskPool
from bots.allocation import AllocationRequest, make_allocation
from bots.allocation.greedy import spend
from bots.allocation.knapsack import gains
from bots.allocation.signal import MEASURES
from bots.belief.columns import Beliefs
from bots.belief.prior import Prior


def pool_of(size):
    return TaskPool.from_arrow(pa.table({"id": [f"t{i}" for i in range(size)]}))


def beliefs_of(alpha, beta):
    beliefs = Beliefs(pool_of(len(alpha)), Prior(pool_of(len(alpha)), (1.0, 1.0)))
    beliefs.alpha[:], beliefs.beta[:] = alpha, beta
    return beliefs


def sizes_of(name, beliefs, rollouts, **options):
    allocation = make_allocation(name, beliefs.pool, options)
    rows = np.arange(len(beliefs))
    request = AllocationRequest(rows, rollouts, rollouts * len(rows), *allocation.bounds(rollouts))
    return allocation.allocate(beliefs, request, np.random.default_rng(0)).tolist()


def test_even_is_n_for_all_and_draws_no_random_number():
    bots, plain = (BOTS(pool_of(50), rollouts=8, seed=3) for _ in range(2))
    for _ in range(3):
        rows = bots.select(8)
        assert bots.allocate(rows).tolist() == [8] * 8
        np.testing.assert_array_equal(rows, plain.select(8))
        for one in (bots, plain):
            one.observe(rows, np.tile([0.0, 1.0], (8, 4)))
    assert bots.allocate(rows, 67).tolist() == [9, 9, 9, 8, 8, 8, 8, 8], "what is left over goes to the first"
    assert bots.allocate(rows[:2], 10, cost=[1.0, 3.0]).tolist() == [3, 2]


def test_knapsack_by_hand():
    """Gains of a further rollout, times p(1-p)²: p = ½ gives ⅛·2^-n, p = 0.1 gives .081·(.9^n·.1 + .1^n·.9)."""
    n = np.arange(2, 6)
    by_hand = [0.125 * 0.5**n, 0.081 * (0.9**n * 0.1 + 0.1**n * 0.9)]
    np.testing.assert_allclose(gains(np.array([0.5, 0.1]), 2, 6), by_hand, rtol=1e-12)
    # Of 8 rollouts 4 are spare. .03125 and .015625 (½), .0078 (½); .0073 (.1): three and one.
    assert sizes_of("knapsack", beliefs_of([50, 10], [50, 90]), 4) == [5, 3]


def value(n, p):
    return (1 - p**n - (1 - p) ** n) * p * (1 - p) ** 2


def test_knapsack_is_the_optimum_of_all_allocations():
    rng = np.random.default_rng(1)
    for _ in range(5):
        p = rng.uniform(0.02, 0.98, 4)
        sizes = sizes_of("knapsack", beliefs_of(1000 * p, 1000 * (1 - p)), 5, most=11)
        every = [n for n in product(range(2, 12), repeat=4) if sum(n) == 20]
        best = max(sum(value(k, q) for k, q in zip(n, p, strict=True)) for n in every)
        assert sum(value(k, q) for k, q in zip(sizes, p, strict=True)) == pytest.approx(best, rel=1e-12)


def beta_binomial(s, n, alpha, beta):
    """P(s of n) = C(n, s)·B(α+s, β+n-s)/B(α, β), for whole α and β by factorials."""
    rising = lambda x, k: np.prod([x + i for i in range(k)])  # noqa: E731
    return comb(n, s) * rising(alpha, s) * rising(beta, n - s) / rising(alpha + beta, n)


SIGNALS = {
    "deviation": lambda s, n: sqrt(s / n * (1 - s / n)),
    "variance": lambda s, n: s / n * (1 - s / n),
    "mixed": lambda s, n: float(0 < s < n),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_signal_gains_are_those_of_the_beta_binomial(measure):
    alpha, beta = np.array([1.0, 2.0, 0.5, 30.0]), np.array([1.0, 8.0, 20.0, 5.0])

    def expected(n, a, b):
        return sum(SIGNALS[measure](s, n) * beta_binomial(s, n, a, b) for s in range(n + 1))

    by_hand = [
        [expected(n + 1, a, b) - expected(n, a, b) for n in range(2, 12)]
        for a, b in zip(alpha, beta, strict=True)
    ]
    found = MEASURES[measure](alpha, beta, 2, 12)
    np.testing.assert_allclose(found, by_hand, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("measure", MEASURES)
def test_signals_are_concave_so_that_taking_the_largest_gains_is_optimal(measure):
    rng = np.random.default_rng(0)
    alpha, beta = 10 ** rng.uniform(-1, 3, (2, 200))
    found = MEASURES[measure](alpha, beta, 2, 64)
    assert (found >= 0).all()
    assert (np.diff(found, axis=1) <= 1e-15).all()


def test_variance_is_neyman_s_allocation():
    """n_k ∝ √E[p(1-p)]: deviations ½, .3 and .1 of sharp beliefs share 90 rollouts as 50, 30 and 10."""
    p = np.array([0.5, 0.1, 0.01010205])
    sizes = sizes_of("signal", beliefs_of(1e7 * p, 1e7 * (1 - p)), 30, measure="variance")
    np.testing.assert_allclose(sizes, [50, 30, 10], atol=1)


def test_what_is_known_less_well_has_less_signal_to_expect():
    """Two tasks of mean .1: the one believed after 3 pseudo-counts may be hopeless, the one after 300 is not."""
    assert sizes_of("signal", beliefs_of([0.3, 30, 50], [2.7, 270, 50]), 6, measure="mixed") == [4, 9, 5]


def test_ties_go_to_the_smaller_group_and_then_in_the_order_of_selection():
    request = AllocationRequest(np.array([7, 3, 5]), 4, 11, 2, 32)
    assert spend(np.tile(0.5 ** np.arange(10.0), (3, 1)), request).tolist() == [4, 4, 3]
    assert spend(np.zeros((3, 0)), request).tolist() == [4, 4, 3], "where nothing is gained, too"


def test_a_sum_of_costs_that_rounds_gives_each_its_n():
    bots = BOTS(pool_of(50), rollouts=3, seed=0)
    assert bots.allocate(range(5), cost=[0.3, 0.7, 0.2, 1.8, 0.3]).tolist() == [3] * 5
    least = BOTS(pool_of(50), rollouts=3, seed=0, allocation="knapsack")
    rng = np.random.default_rng(0)
    for _ in range(300):
        cost = rng.integers(1, 20, 8) / 10
        assert bots.allocate(range(8), cost=cost).tolist() == [3] * 8
        one_by_one = sum(2 * each for each in cost.tolist())
        assert least.allocate(range(8), one_by_one, cost=cost[::-1]).tolist() == [2] * 8


def test_costs_buy_more_completions_of_cheap_tasks():
    request = AllocationRequest(np.arange(2), 4, 24.0, 2, 32, cost=np.array([1.0, 3.0]))
    # Equal gains 1, ½, ¼ …: per cost 1, ½, ¼, ⅛ … and ⅓, ⅙, …; 16 are left after two of each.
    sizes = spend(np.tile(0.5 ** np.arange(10.0), (2, 1)), request)
    assert sizes.tolist() == [9, 5]
    assert 24 - 1 < sizes @ [1.0, 3.0] <= 24


@pytest.mark.parametrize(
    ("until", "rewards", "more"),
    [
        ("signal", [0, 0, 0, 0], 4),
        ("signal", [1, 1, 1, 1], 4),
        ("signal", [0, 0, 0, 1], 0),
        ("signal", [0] * 8, 4),
        ("signal", [0] * 16, 0),
        ("positive", [1, 1, 1, 1], 0),
        ("positive", [0, 0, 0, 0.4], 4),
        ("balanced", [1, 0, 0, 0], 4),
        ("balanced", [1, 1, 1, 1, 0, 0, 0], 4),
        ("balanced", [1, 1, 1, 1, 0, 0, 0, 0], 0),
    ],
)
def test_until_signal_goes_on_until_there_is_some(until, rewards, more):
    """n = 8: rounds of 4, at most 4 of them."""
    bots = BOTS(pool_of(9), rollouts=8, allocation="until_signal", allocation_options={"until": until})
    assert bots.allocate(bots.select(4)).tolist() == [4] * 4
    assert bots.allocator.staged
    assert bots.allocator.more(rewards) == more


def test_a_snapshot_continues_with_the_same_sizes(tmp_path):
    options = {
        "allocation": "signal",
        "allocation_options": {"measure": "mixed"},
        "lam": 0.0,
        "selector": "random",
    }
    bots = BOTS(pool_of(12), rollouts=6, seed=2, **options)
    rng = np.random.default_rng(0)

    def wave(one, draws):
        rows = one.select(8)
        sizes = one.allocate(rows)
        groups = [np.array(draws[row][:size]) for row, size in zip(rows, sizes, strict=True)]
        one.observe(rows, groups)
        return rows.tolist(), sizes.tolist()

    draws = (rng.random((12, 64)) < np.tile([0.02, 0.2, 0.5], 4)[:, None]).astype(float).tolist()
    waves = [wave(bots, draws) for _ in range(4)]
    assert any(len(set(sizes)) > 1 for _, sizes in waves)
    assert all(sum(sizes) == 48 for _, sizes in waves)
    bots.save(tmp_path / "bots.arrow")
    loaded = BOTS.load(tmp_path / "bots.arrow", bots.pool)
    assert [wave(loaded, draws) for _ in range(3)] == [wave(bots, draws) for _ in range(3)]


def test_cures_by_hand():
    """σ = √(p(1-p)): .5, .3 and .3, so that 66 rollouts are spread as 30, 18 and 18."""
    beliefs = beliefs_of([50, 10, 90], [50, 90, 10])
    assert sizes_of("cures", beliefs, 22, most=40) == [30, 18, 18]


def test_speed_completes_only_groups_that_differ():
    """n = 24: 8 to screen a task (a third), the other 16 if its rewards differ, as in the paper's runs."""
    speed = make_allocation("speed", pool_of(3))
    assert sizes_of("speed", beliefs_of([1, 1, 1], [1, 1, 1]), 24) == [8, 8, 8]
    assert speed.more(np.zeros(8), 24) == 0
    assert speed.more(np.ones(8), 24) == 0
    assert speed.more(np.array([0.0] * 7 + [1.0]), 24) == 16
    assert speed.more(np.array([0.5] * 7 + [0.25]), 24) == 16
    assert speed.more(np.array([0.0] * 23 + [1.0]), 24) == 0
    assert make_allocation("speed", pool_of(3), {"screening": 4}).more(np.array([0.0, 1, 0, 0]), 16) == 12
