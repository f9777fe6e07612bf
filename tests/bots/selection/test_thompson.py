"""Thompson selection is exact in distribution: against plain NumPy Beta draws, by every way that it takes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bots import TaskPool
from bots.belief.columns import Beliefs
from bots.belief.prior import Prior
from bots.selection import SelectionRequest
from bots.selection.thompson import Thompson
from bots.selection.thompson_kernels import density_bound

TASKS, BATCH, ROUNDS = 40_000, 48, 300


class Narrow(Thompson):
    """A window in which about a third of the batch lies, so that every selection needs the second pass."""

    def _reach(self, beliefs, request, seed):
        return 0.2 * super()._reach(beliefs, request, seed)


class Wide(Thompson):
    """A fixed window that is too wide for thinning in blocks of sharp beliefs: these are drawn row by row."""

    def _reach(self, beliefs, request, seed):
        return 0.1


def beliefs_of(kind, rng):
    if kind == "flat":
        alpha, beta = np.ones((2, TASKS))
    elif kind == "tiny":
        alpha, beta = rng.uniform(0.02, 0.9, (2, TASKS))
    else:
        mean = rng.uniform(0.02, 0.98, TASKS)
        mass = np.full(TASKS, 160.0)
        if kind == "mixed":
            mass = rng.choice([2.0, 18.0, 40.0, 160.0], TASKS)
        if kind == "skewed":
            # The sharp ones are far from p*; a few hundred are not.
            mean = np.where(rng.random(TASKS) < 0.01, mean, rng.uniform(0.01, 0.1, TASKS))
        if kind == "hopeless":
            # None is near p*, and none is alike.
            mean, mass = rng.uniform(0.001, 0.2, TASKS), rng.choice([8.0, 18.0, 160.0], TASKS)
        alpha, beta = mean * mass, (1 - mean) * mass
    pool = TaskPool(pa.table({"x": np.zeros(TASKS, np.int8), "domain": ["a", "b"] * (TASKS // 2)}))
    beliefs = Beliefs(pool, Prior(pool, (1.0, 1.0)))
    beliefs.alpha[:], beliefs.beta[:] = alpha, beta
    beliefs.bound_mass()
    return beliefs


def plain(beliefs, p_star, rng, allowed):
    """The definition: a draw for every task, the nearest `BATCH`."""
    distance = np.abs(rng.beta(beliefs.alpha, beliefs.beta) - p_star)
    distance[~allowed] = np.inf
    rows = np.argpartition(distance, BATCH)[:BATCH]
    rows = rows[np.argsort(distance[rows])]
    return rows, distance[rows]


CASES = [
    ("flat", 0.5, Thompson, "thinned"),
    ("sharp", 0.5, Thompson, "thinned"),
    ("sharp", 0.3, Narrow, "completed"),
    ("mixed", 0.5, Thompson, "thinned"),
    ("mixed", 0.7, Thompson, "thinned"),
    ("mixed", 0.5, Narrow, "completed"),
    ("mixed", 0.5, Wide, "thinned"),
    ("skewed", 0.5, Thompson, "thinned"),
    ("hopeless", 0.6, Thompson, "thinned"),
    ("hopeless", 0.6, Narrow, "completed"),
    ("tiny", 0.5, Thompson, "thinned"),
    ("tiny", 0.5, Narrow, "completed"),
]


@pytest.mark.parametrize(("kind", "p_star", "cls", "way"), CASES)
@pytest.mark.parametrize("domain", [-1, 1])
def test_same_distribution_as_numpy(kind, p_star, cls, way, domain):
    """Frequencies by stratum of belief (χ²), and the nearest, the middle and the farthest |θ-p*| (KS)."""
    rng = np.random.default_rng([TASKS, CASES.index((kind, p_star, cls, way)), domain + 1])
    beliefs = beliefs_of(kind, rng)
    blocked = rng.choice(TASKS, TASKS // 5, replace=False)
    beliefs.blocked[blocked] = 1
    allowed = beliefs.blocked == 0
    if domain >= 0:
        allowed &= beliefs.pool.domain_codes == domain
    selector = cls(beliefs.pool)
    request = SelectionRequest(BATCH, 0, p_star, domain, int(allowed.sum()))
    ours, theirs = (
        [draw() for _ in range(ROUNDS)]
        for draw in (
            lambda: selector.draw(beliefs, request, rng),
            lambda: plain(beliefs, p_star, rng, allowed),
        )
    )
    counts = selector.metrics()
    if way:
        assert counts[way] > 0.8 * ROUNDS
    chosen = np.array([rows for rows, _ in ours])
    assert allowed[chosen].all()
    assert all(len(set(rows.tolist())) == BATCH for rows in chosen)

    density = stats.beta.pdf(p_star, beliefs.alpha, beliefs.beta)
    strata = np.searchsorted(np.quantile(density[allowed], np.linspace(0.1, 0.9, 9)), density)
    table = np.array(
        [
            np.bincount(strata[chosen.ravel()], minlength=10),
            np.bincount(strata[np.array([rows for rows, _ in theirs]).ravel()], minlength=10),
        ]
    )
    table = table[:, table.sum(axis=0) >= 20]
    assert table.shape[1] == 1 or stats.chi2_contingency(table).pvalue > 1e-3
    for place in (0, BATCH // 2, BATCH - 1):
        mine, plainly = ([distances[place] for _, distances in part] for part in (ours, theirs))
        assert stats.ks_2samp(mine, plainly).pvalue > 1e-3
    # θ itself of all the selected.
    mine, plainly = (np.concatenate([d for _, d in part]) for part in (ours, theirs))
    assert stats.ks_2samp(mine, plainly).pvalue > 1e-4


@pytest.mark.parametrize("blocks", ["thinned", "direct"])
def test_chance_of_every_task_is_its_own(blocks):
    """How often each of a few hundred tasks lies in the window, against SciPy's Beta distribution."""
    from bots.selection.thompson_kernels import thin

    rng = np.random.default_rng(5)
    mass = np.exp(rng.uniform(np.log(0.2), np.log(300), 300))
    mean = rng.uniform(0.05, 0.95, 300)
    alpha, beta = mass * mean, mass * (1 - mean)
    reach, p_star = (0.02, 0.4) if blocks == "thinned" else (0.15, 0.4)
    rounds = 20_000
    hits = np.zeros(300)
    capacity = 300
    scores, rows, found = np.empty(capacity), np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    for seed in range(rounds):
        count = thin(
            alpha, beta, np.zeros(300, np.uint8), np.empty(0, np.int16), -1, p_star, reach, 300,
            np.array([mass.max()]), np.uint64(seed), scores, rows, found,
        )  # fmt: skip
        hits[found[:count]] += 1
    law = stats.beta(alpha, beta)
    expected = law.cdf(p_star + reach) - law.cdf(p_star - reach)
    deviation = (hits - rounds * expected) / np.sqrt(rounds * expected * (1 - expected) + 1)
    assert np.abs(deviation).max() < 4.5
    assert 0.8 < deviation.std() < 1.2


@settings(max_examples=300, deadline=None)
@given(
    mass=st.floats(0.02, 1e6),
    share=st.floats(0.001, 1),
    mean=st.floats(0.001, 0.999),
    low=st.floats(0.001, 0.99),
    width=st.floats(1e-6, 0.3),
)
def test_no_density_is_above_the_bound(mass, share, mean, low, width):
    high = min(0.999, low + width)
    x = np.linspace(low, high, 101)
    density = stats.beta.pdf(x, share * mass * mean, share * mass * (1 - mean))
    assert density.max() <= density_bound(mass, low, high) * (1 + 1e-9)


def test_a_violated_bound_is_noticed():
    """Beliefs that were changed behind the tracker's back: a warning, every task drawn, and a new bound."""
    beliefs = beliefs_of("flat", np.random.default_rng(0))
    beliefs.alpha[:] = beliefs.beta[:] = 500
    request = SelectionRequest(BATCH, 0, 0.5, -1, TASKS)
    selector = Thompson(beliefs.pool)
    with pytest.warns(UserWarning, match="exceeds the tracked evidence mass"):
        rows, distances = selector.draw(beliefs, request, np.random.default_rng(1))
    assert len(set(rows.tolist())) == BATCH
    assert (beliefs.block_mass == 1000).all()
    assert distances[-1] < 1e-4


def test_the_number_of_cores_does_not_matter(monkeypatch):
    beliefs = beliefs_of("mixed", np.random.default_rng(0))
    request = SelectionRequest(BATCH, 0, 0.5, -1, TASKS)
    picks = []
    for cores in (1, 2):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        picks.append(Thompson(beliefs.pool, "draw").select(beliefs, request, np.random.default_rng(7)))
    assert (picks[0] == picks[1]).all()
