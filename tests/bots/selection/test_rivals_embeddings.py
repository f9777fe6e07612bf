"""Rivals that need embeddings, against examples worked by hand."""

from math import log

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, TaskPool


def group(right, n=8):
    return [1.0] * right + [0.0] * (n - right)


# --- DOTS


def embedded_pool(vectors, **columns):
    flat = pa.array(np.asarray(vectors, np.float32).ravel())
    embedding = pa.FixedSizeListArray.from_arrays(flat, len(vectors[0]))
    return TaskPool(pa.table({"embedding": embedding, **columns}))


A, B = np.array([1.0, -1, 1, -1]), np.array([1.0, 1, -1, -1])


def test_dots_attends_to_the_reference_set():
    """h = 4, so that scores are 2·cos: weights e²/(e² + 1) = .8808 and .1192 on pass rates 1 and ¼."""
    pool = embedded_pool([A, B, A, 5 + 3 * A, B, 0 * A])
    bots = BOTS(pool, selector="dots_similarity", evidence_options={"rate": 0.1}, rollouts=8)
    predicted = bots._parts.evidence.predict_rows
    bots.observe([0, 1], [group(8), group(2)], step=0)
    near_a = 0.880797 + 0.119203 / 4  # .9106
    near_b = 0.119203 + 0.880797 / 4
    expected = [near_a, near_a, near_b]  # centred and scaled embeddings
    assert predicted(np.array([2, 3, 4])) == pytest.approx(expected, abs=1e-5)
    assert np.isnan(predicted(np.array([5])))[0]
    # λ = ρ = 1: the newest prediction alone, on the prior.
    assert bots.predict_mean([2, 4]) == pytest.approx((1 + 8 * np.array([near_a, near_b])) / 10, abs=1e-5)
    # All wrong where .9106 was predicted: w = 1 - .1·.9106·logit(.9106) and b = -.1·.9106.
    bots.observe([2], [group(0)], step=1)
    metrics = bots.metrics()
    assert metrics["evidence/scale"] == pytest.approx(1 - 0.1 * near_a * log(near_a / (1 - near_a)), abs=1e-4)
    assert metrics["evidence/bias"] == pytest.approx(-0.1 * near_a, abs=1e-5)


def test_dots_draws_in_proportion_to_the_softmax_of_the_distances():
    """Means .5 and .502 with τ = .001: the first is drawn e²/(1 + e²) = .881 of the time."""
    prior = np.array([5e6, 5.02e6]), np.array([5e6, 4.98e6])
    bots = BOTS(embedded_pool([A, B]), selector="dots_similarity", prior=prior)
    drawn = [bots.select(1, step=step)[0] for step in range(3000)]
    assert np.mean(np.array(drawn) == 0) == pytest.approx(0.881, abs=0.024)


# --- GPS


def test_gps_infers_the_latent_numbers_of_all_tasks():
    """Only the constant varies: one task all right gives 1 - σ(z) = z, so z = .40106, with variance
    1/(1 + σ(z)(1-σ(z))) = .80631; p̃ = σ(.40106/√(1 + π/8·.80631)) = .58650."""
    bots = BOTS(embedded_pool([np.ones(2)] * 3), selector="gps", rollouts=8)
    evidence = bots._parts.evidence
    assert np.isnan(evidence.predict_rows(np.array([1])))[0]
    bots.observe([0], [group(8)], step=0)
    assert evidence.mean[0] == pytest.approx(0.40106, abs=1e-5)
    assert evidence.covariance[0, 0] == pytest.approx(0.80631, abs=1e-4)
    assert evidence.predict_rows(np.array([1, 2])) == pytest.approx([0.5865] * 2, abs=1e-4)


def test_gps_learns_which_embeddings_are_hard_and_follows_the_policy():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 4))
    bots = BOTS(embedded_pool(vectors), selector="gps", rollouts=16)
    for step in range(30):
        rates = 1 / (1 + np.exp(-(2 * vectors[:, 1] + step / 10 - 1.5)))
        rows = bots.select(32, step=step)
        bots.observe(rows, rng.random((32, 16)) < rates[rows, None], step=step)
    predicted = bots._parts.evidence.predict_rows(np.arange(400))
    assert np.corrcoef(predicted, rates)[0, 1] > 0.95
    assert predicted.mean() == pytest.approx(rates.mean(), abs=0.1)


@pytest.mark.parametrize(("weight", "second"), [(0.1, 2), (0.03, 1)])
def test_gps_weighs_utility_against_diversity(weight, second):
    """Utilities 0, -.0001 and -.04; rows 0 and 1 have one embedding, row 2 the opposite: D = 1, worth w."""
    mean = np.array([0.5, 0.49, 0.3])
    options = {"selector_options": {"diversity": weight}, "prior": (1e6 * mean, 1e6 * (1 - mean))}
    bots = BOTS(embedded_pool([A, A, -A]), selector="gps", **options)
    assert bots.select(2, step=0).tolist() == [0, second]
    # Away from the last batch, row 0: row 2 gains -.04 + w.
    bots = BOTS(embedded_pool([A, A, -A]), selector="gps", **options)
    bots.select(1, step=0)
    assert bots.select(1, step=1).tolist() == [0 if weight == 0.03 else 2]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"selector": "gps", "selector_options": {"diversity": -1}}, "diversity is -1; it must be a finite"),
        ({"selector": "gps", "evidence_options": {"dimensions": 0}}, "dimensions is 0; it must be a whole"),
        ({"selector": "gps", "evidence_options": {"spread": 0}}, "spread is 0; it must be a finite"),
        (
            {"selector": "gps", "evidence_options": {"column": "z"}},
            "evidence 'latent' needs the feature column 'z'",
        ),
        (
            {"selector": "gps", "selector_options": {"column": "z"}},
            "selector 'gps' needs the feature column 'z'",
        ),
        ({"selector": "gps", "lam": 0.1}, "selector 'gps' is defined by lam=1.0"),
        ({"selector": "dots_similarity", "evidence_options": {"rate": 2}}, "rate is 2; it must be in"),
        (
            {"selector": "dots_similarity", "evidence_options": {"column": "z"}},
            "evidence 'attention' needs the",
        ),
        ({"selector": "dots_similarity", "selector_options": {"temperature": 0}}, "temperature is 0"),
        ({"selector": "dots_similarity", "belief": "state_space"}, "defined by λ and ρ of belief 'beta'"),
    ],
)
def test_dots_and_gps_refuse(settings, words):
    with pytest.raises(ValueError, match=words):
        BOTS(embedded_pool([A, B]), **settings)
    with pytest.raises(ValueError, match="one number for each task; attention needs at least two"):
        BOTS(embedded_pool([[1.0], [2.0]]), selector="dots_similarity")
