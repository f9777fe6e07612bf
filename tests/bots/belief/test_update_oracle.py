"""The posterior against a slow float64 oracle written straight from the paper's update."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots import BOTS, TaskPool
from bots.evidence import Evidence

TASKS = 400


class Given(Evidence):
    """p̃ is the pool's column `given`, so that the order of arrival cannot matter."""

    def observe(self, observation):
        pass

    def predict(self, start, stop, out):
        out[:] = self.pool.table["given"].to_numpy()[start:stop]


HERE = f"{__name__}:Given"


def make_pool(rng, tasks=TASKS):
    given_rates = rng.random(tasks).astype(np.float32)
    given_rates[rng.random(tasks) < 0.1] = np.nan
    domain = np.array(["math", "code"])[rng.integers(2, size=tasks)]
    domain[:2] = "math", "code"
    return TaskPool(pa.table({"given": given_rates, "domain": domain}))


def make_prior(kind, pool, rng):
    """A prior, and what it is for every task."""
    size = len(pool)
    if kind == "global":
        return (0.7, 2.5), np.full(size, 0.7), np.full(size, 2.5)
    if kind == "domain":
        prior = {"math": (1.0, 1.0), "code": (0.3, 3.0)}
        names = pool.table["domain"].to_pylist()
        return prior, np.array([prior[d][0] for d in names]), np.array([prior[d][1] for d in names])
    alpha, beta = rng.uniform(0.1, 5, (2, size)).astype(np.float32)
    return (alpha, beta), alpha.astype(float), beta.astype(float)


def make_batches(rng, steps, constant_n=None):
    """{step: [(row, rewards), …]}: overlapping batches, repeated rows, different n, fractional rewards."""
    batches = {}
    for step in steps:
        rows = rng.integers(TASKS, size=rng.integers(1, 40))
        binary = rng.random() < 0.5
        groups = []
        for row in rows.tolist():
            n = constant_n or int(rng.integers(1, 9))
            rewards = rng.random(n)
            groups.append((row, (rewards < 0.5).astype(float) if binary else rewards))
        batches[step] = groups
    return batches


def oracle(batches, given_rates, alpha0, beta0, lam, rho):
    """In order of steps, task by task, as the formulas are printed."""
    alpha, beta = alpha0.copy(), beta0.copy()
    steps = range(min(batches), max(batches) + 1)
    for step in steps:
        s, f = {}, {}
        for row, rewards in batches.get(step, []):
            s[row] = s.get(row, 0.0) + float(np.sum(rewards))
            f[row] = f.get(row, 0.0) + float(np.sum(1 - rewards))
        n = sum(s[row] + f[row] for row in s) / len(s) if s else 0.0
        for k in range(len(alpha)):
            if k in s:
                successes, failures, implied_s, implied_f = s[k], f[k], s[k], f[k]
            else:
                p = float(given_rates[k])
                successes = failures = 0.0
                implied_s, implied_f = (0.0, 0.0) if np.isnan(p) else (n * p, n * (1 - p))
            alpha[k] = (1 - lam) * alpha[k] + lam * alpha0[k] + (1 - rho) * successes + rho * implied_s
            beta[k] = (1 - lam) * beta[k] + lam * beta0[k] + (1 - rho) * failures + rho * implied_f
    return alpha, beta


def deviation(bots, alpha, beta):
    return max(np.max(np.abs(bots.alpha / alpha - 1)), np.max(np.abs(bots.beta / beta - 1)))


worst = 0.0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    lam=st.sampled_from([0.0, 0.05, 0.1, 0.5, 1.0]),
    rho=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    prior_kind=st.sampled_from(["global", "domain", "task"]),
    gaps=st.booleans(),
    order=st.sampled_from(["in order", "shuffled"]),
)
def test_equals_the_oracle_for_every_task(seed, lam, rho, prior_kind, gaps, order):
    """60 examples of 400 tasks: 24,000 histories, in and out of order, each batch sent twice."""
    global worst
    rng = np.random.default_rng(seed)
    pool = make_pool(rng)
    prior, alpha0, beta0 = make_prior(prior_kind, pool, rng)
    bots = BOTS(pool, lam=lam, rho=rho, evidence=HERE, prior=prior)
    steps = np.flatnonzero(rng.random(12) < (0.5 if gaps else 1)).tolist() or [0]
    batches = make_batches(rng, steps)
    arrival = list(batches) if order == "in order" else rng.permutation(list(batches)).tolist()
    for step in arrival:
        rows = [row for row, _ in batches[step]]
        rewards = [group for _, group in batches[step]]
        assert bots.observe(rows, rewards, step) == len(set(rows))
        assert bots.observe(rows, rewards, step) == 0
    alpha, beta = oracle(batches, pool.table["given"].to_numpy(), alpha0, beta0, lam, rho)
    found = deviation(bots, alpha, beta)
    worst = max(worst, found)
    assert found < 1e-12
    last = {row: step for step in sorted(batches) for row, _ in batches[step]}
    rows = np.array(list(last))
    assert (bots.table()["last_step"].to_numpy()[rows] == list(last.values())).all()


def test_report_of_the_largest_deviation(record_property):
    """The figure of the test before this one, for the record."""
    record_property("largest relative deviation", worst)
    print(f"largest relative deviation from the oracle: {worst:.2e}")
    assert worst < 1e-12


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), lam=st.floats(0, 1), rho=st.floats(0, 1))
def test_groups_that_arrive_one_by_one_end_up_as_if_together(seed, lam, rho):
    """Selected tasks are awaited: in pieces, late and in any order gives what one call a step gives."""
    rng = np.random.default_rng(seed)
    pool = make_pool(rng)
    whole, pieces = (BOTS(pool, lam=lam, rho=rho, evidence=HERE, seed=1) for _ in range(2))
    arrivals = []
    for step in range(6):
        rows = whole.select(16, step)
        pieces._parts.history.at(step).select(rows)
        rewards = (rng.random((16, 4)) < 0.5).astype(float)
        whole.observe(rows, rewards, step)
        arrivals += [(step, rows[i : i + 4], rewards[i : i + 4]) for i in range(0, 16, 4)]
    for i in rng.permutation(len(arrivals)).tolist():
        step, rows, rewards = arrivals[i]
        pieces.observe(rows, rewards, step)
    assert deviation(pieces, whole.alpha, whole.beta) < 1e-12


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    lam=st.floats(0.01, 1),
    rho=st.floats(0, 1),
    n=st.integers(1, 16),
)
def test_evidence_mass_stays_within_its_bounds(seed, lam, rho, n):
    """0 ≤ m ≤ n/λ for any order of arrival, also of tasks that nobody selected."""
    rng = np.random.default_rng(seed)
    bots = BOTS(make_pool(rng), lam=lam, rho=rho, evidence=HERE, rollouts=n)
    for _ in range(40):
        step = int(max(0, bots.step + rng.integers(-3, 3)))
        rows = rng.choice(TASKS, 20, replace=False)
        bots.observe(rows, rng.integers(0, 2, (20, n)).astype(float), step)
        mass = bots.alpha + bots.beta - 2
        assert mass.min() > -1e-9
        assert mass.max() <= bots.evidence_mass_bound * (1 + 1e-9)
        assert (bots._parts.beliefs.block_mass * (1 + 1e-9) >= (bots.alpha + bots.beta).max()).all()


def test_evidence_mass_tends_to_its_limits():
    """ρn/λ for a task that is never selected, n/λ for one that always is, 0 without any evidence."""
    pool = TaskPool(pa.table({"given": np.array([0.3, 0.6, np.nan], np.float32)}))
    bots = BOTS(pool, lam=0.1, rho=0.2, evidence=HERE)
    for _ in range(400):
        bots.observe([1], np.ones((1, 16)))
    assert bots.alpha + bots.beta - 2 == pytest.approx([0.2 * 16 / 0.1, 16 / 0.1, 0])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_within_a_batch_and_of_rewards_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    pool = make_pool(rng)
    one, other = (BOTS(pool, evidence=HERE) for _ in range(2))
    for _ in range(5):
        rows = rng.choice(TASKS, 30, replace=False)
        rewards = (rng.random((30, 8)) < 0.4).astype(float)
        one.observe(rows, rewards)
        shuffled = rng.permutation(30)
        other.observe(rows[shuffled], rng.permuted(rewards[shuffled], axis=1))
    assert (one.alpha == other.alpha).all()
    assert (one.beta == other.beta).all()


def test_the_number_of_threads_does_not_matter():
    rng = np.random.default_rng(0)
    pool = make_pool(rng, 300_000)
    one, other = (BOTS(pool, evidence=HERE, threads=threads) for threads in (1, 3))
    for _ in range(3):
        rows = rng.choice(len(pool), 64, replace=False)
        rewards = rng.random((64, 8))
        one.observe(rows, rewards)
        other.observe(rows, rewards)
    assert (one.alpha == other.alpha).all()


def test_forgetting_by_observation_is_mopps_retention_form():
    """α ← r·α + (1-r)·α0 + s for the observed tasks, with r = 1-λ; all others stay as they are."""
    pool = TaskPool(pa.table({"x": np.arange(4)}))
    bots = BOTS(pool, lam=0.4, selector="mopps", forgetting="observation")
    bots.observe([0, 1], [[1.0, 1.0], [0.0, 1.0]])
    bots.observe([1], [[0.0, 0.0]])
    assert bots.alpha == pytest.approx([3, 0.6 * 2 + 0.4, 1, 1])
    assert bots.beta == pytest.approx([1, 0.6 * 2 + 0.4 + 2, 1, 1])


def test_late_task_that_nobody_selected_has_its_implicit_share_spent():
    pool = TaskPool(pa.table({"given": np.array([0.5, 0.5, np.nan], np.float32)}))
    bots = BOTS(pool, lam=0.0, rho=0.25, evidence=HERE)
    bots.observe([0], np.ones((1, 4)), 0)
    bots.observe([1, 2], np.ones((2, 4)), 0)
    # Task 1: ρ·n·p̃ from the first call, (1-ρ)·s now. Task 2 had no implicit evidence: all of s.
    assert bots.alpha == pytest.approx([5, 1 + 0.5 + 3, 5])
    assert bots.beta == pytest.approx([1, 1.5, 1])
