"""Self-tuning: the followed beliefs are exact, the likelihood is scipy's, λ and ρ go where they should."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import betaln

from bots import BOTS
from bots.adapt import make_adaptor
from bots.adapt.grid import PredictiveGrid
from bots.pool import TaskPool
from bots.support.observation import Observation

LAMS, RHOS = (0.0, 0.1, 0.5, 1.0), (0.0, 0.1, 0.5, 1.0)


def pool_of(size):
    return TaskPool.from_arrow(pa.table({"x": np.arange(size)}))


def flat_prior(rows):
    return 1.0, 1.0


def outcome_of(step, rows, s, n):
    p = s / n
    return Observation(step, rows, s.astype(float), np.full(len(rows), float(n)), p * (1 - p))


def make(size=200, **params):
    return PredictiveGrid(pool_of(size), flat_prior, 0.1, 0.1, 0.5, lams=LAMS, rhos=RHOS, **params)


def run(adaptor, steps, truth, implicit, batch=24, n=8, seed=0, size=200, first=0):
    """truth(step) and implicit(step) are the (K,) pass rates; implicit(t) is known after step t."""
    rng = np.random.default_rng(seed)
    for step in range(first, first + steps):
        rows = rng.choice(size, batch, replace=False)
        s = rng.binomial(n, truth(step)[rows])
        p = np.full(size, np.nan) if step == 0 else implicit(step - 1)
        adaptor.observe(outcome_of(step, rows, s, n), lambda rows, p=p: p[rows].astype(np.float32))
        yield rows, s


@pytest.mark.parametrize("params", [{}, {"sample": 40, "recent": 30}])
def test_beliefs_and_scores_equal_the_formulas(params):
    """Tasks followed from the start are exact in both forms; those that entered later inherit nearly so."""
    truth = np.linspace(0.05, 0.95, 200)
    adaptor = make(discount=0.9, **params)
    alpha, beta = np.ones((2, 200, 16))
    lam, rho = np.repeat(LAMS, 4), np.tile(RHOS, 4)
    expected, previous = np.zeros(16), None
    exact = adaptor.followed.rows[: adaptor.followed.sample]
    for rows, s in run(adaptor, 25, lambda t: truth, lambda t: truth, n=8):
        if previous is not None:
            old_rows, old_s = previous
            counts = np.stack([8 * truth, 8 * (1 - truth)])[:, :, None] * rho
            counts[:, old_rows] = np.stack([old_s, 8 - old_s])[:, :, None]
            alpha, beta = (1 - lam) * alpha + lam + counts[0], (1 - lam) * beta + lam + counts[1]
        likelihood = betaln(alpha[rows] + s[:, None], beta[rows] + 8 - s[:, None])
        likelihood -= betaln(alpha[rows], beta[rows])
        expected = 0.9 * expected + np.sum(likelihood, axis=0)  # ln C(n, s) is common to all
        previous = rows, s
        np.testing.assert_allclose(
            adaptor.followed.beliefs[0, : adaptor.followed.sample], alpha[exact], rtol=1e-4
        )
        if not params:
            plain = adaptor.scores[:, 0]  # concentration 1
            relative = plain - plain[0]
            np.testing.assert_allclose(relative, expected - expected[0], rtol=1e-3, atol=0.05)
    assert adaptor.followed.outcomes == 25
    if params:
        followed = adaptor.followed.rows[adaptor.followed.sample :]
        assert len(np.unique(followed)) == 30
        error = (
            np.abs(adaptor.followed.beliefs[0, adaptor.followed.sample :] - alpha[followed]) / alpha[followed]
        )
        assert np.median(error[:, rho > 0]) < 0.2  # never fell out of the window: exact but for the start


@pytest.mark.parametrize("followed", [{}, {"sample": 40, "recent": 40}])
@pytest.mark.parametrize(("lam", "rho"), [(0.2, 0.5), (0.0, 0.0)])
def test_beliefs_are_the_posterior_s_also_where_a_step_comes_in_parts(followed, lam, rho):
    """One grid point, the one in use: each followed task has the belief that the posterior has of it."""
    grid = {"lams": [lam], "rhos": [rho], **followed}
    bots = BOTS(
        pool_of(120), 0.5, lam, rho, 8, evidence=None, adaptor="predictive", adaptor_options=grid, cooldown=0
    )
    rng = np.random.default_rng(3)
    step, late = 0, None
    for _ in range(30):
        before = np.stack([bots.alpha, bots.beta])
        for part in np.split(bots.select(24, step), [10, 15]):
            bots.observe(part, rng.random((len(part), 8)) < 0.6, step)
        at = bots._parts.adaptor.followed
        kept = at.rows >= 0 if not followed else np.arange(len(at.rows)) < at.sample
        np.testing.assert_allclose(at.beliefs[:, kept, 0], before[:, at.rows[kept]], rtol=1e-5)
        if late is not None:
            bots.observe(*late)
        rows = np.setdiff1d(np.arange(120), bots._parts.history.at(step).selected)[:4]
        late = rows, rng.random((4, 8)) < 0.3, step
        step += rng.integers(1, 4)


def test_sharp_beliefs_far_from_the_target_keep_all_figures_finite():
    """Every density underflows where hundreds of rollouts of all tasks have failed and nothing is forgotten."""
    adaptor = make()
    last(adaptor, 60, lambda t: np.zeros(200), lambda t: np.zeros(200), batch=200, n=64)
    assert adaptor.followed.beliefs[1].min(axis=0).max() > 2000
    assert np.isfinite(adaptor.values).all()
    assert 0 <= adaptor.lam <= 1
    assert 0 <= adaptor.rho <= 1


def last(adaptor, *args, **kwargs):
    for _ in run(adaptor, *args, **kwargs):
        pass
    return adaptor


def test_forgets_nothing_on_still_water_and_stays_put_in_a_storm():
    rng = np.random.default_rng(5)
    still = rng.random(200)
    storm = rng.random((100, 200))  # every step a fresh world
    nothing = lambda t: np.full(200, np.nan)  # noqa: E731
    assert last(make(), 60, lambda t: still, nothing, batch=80).lam < 0.05
    # Where the past says nothing no (λ, ρ) selects better than another: no reason to leave the configured.
    stormy = last(make(), 60, lambda t: storm[t], nothing, batch=80)
    assert 0.05 < stormy.lam < 0.3


def test_trusts_implicit_evidence_by_its_merit():
    rng = np.random.default_rng(6)
    truth = rng.random(200)
    swapped = truth[::-1]
    assert last(make(), 40, lambda t: truth, lambda t: truth).rho > 0.4
    assert last(make(), 40, lambda t: truth, lambda t: swapped).rho < 0.05


def test_p_star_goes_where_the_signal_is():
    """Beliefs lag: a task believed at q has improved to q + 0.15, so the best belief to pick is 0.35."""
    rng = np.random.default_rng(7)
    believed = rng.uniform(0.1, 0.8, 200)
    adaptor = make(adapt_p_star=True, caution=1e6)
    adaptor.followed.beliefs[0], adaptor.followed.beliefs[1] = (
        400 * believed[:, None],
        400 * (1 - believed[:, None]),
    )
    for step in range(40):
        rows = rng.choice(200, 40, replace=False)
        s = rng.binomial(16, believed[rows] + 0.15)
        adaptor.followed.waiting = False  # hold the beliefs still
        adaptor.observe(outcome_of(step, rows, s, 16), lambda rows: np.full(len(rows), np.nan, np.float32))
    assert adaptor.p_star == pytest.approx(0.35, abs=0.06)


def test_resumes_exactly_also_when_grown():
    rates = np.random.default_rng(8).random(300)
    original = last(make(sample=40, recent=50), 10, lambda t: rates, lambda t: rates)
    restored = make(sample=40, recent=50, seed=9)
    restored.load_state_dict(original.state_dict())
    for adaptor in (original, restored):
        adaptor.grow(pool_of(300), flat_prior)
        last(adaptor, 10, lambda t: rates, lambda t: rates, seed=3, size=300, first=10)
    np.testing.assert_array_equal(original.followed.beliefs, restored.followed.beliefs)
    assert (original.lam, original.rho) == (restored.lam, restored.rho)
    assert original.metrics() == restored.metrics()
    with pytest.raises(ValueError, match="grid of 16 points"):
        PredictiveGrid(pool_of(300), flat_prior, 0.1, 0.1, 0.5).load_state_dict(original.state_dict())


def test_refuses():
    with pytest.raises(ValueError, match="unknown adaptor 'magic'"):
        make_adaptor("magic", pool_of(3), flat_prior, 0.1, 0.1, 0.5)
    with pytest.raises(ValueError, match="no_such"):
        make_adaptor("predictive", pool_of(3), flat_prior, 0.1, 0.1, 0.5, {"no_such": 1})
    with pytest.raises(ValueError, match=r"lams is \[2\]"):
        make_adaptor("predictive", pool_of(3), flat_prior, 0.1, 0.1, 0.5, {"lams": [2]})
    adaptor = make(sample=40, recent=10)
    with pytest.raises(ValueError, match="does not fit recent=10"):
        last(adaptor, 1, lambda t: np.full(200, 0.5), lambda t: np.full(200, 0.5))
    assert adaptor.followed.outcomes == 0
