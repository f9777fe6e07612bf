"""Beliefs in bins: counts and sums against NumPy's own."""

import numpy as np

from bots.belief.bins import AGES, BINS, age_bins, batch_bins, pool_bins


def test_bins_hold_every_task_once():
    rng = np.random.default_rng(0)
    alpha, beta = rng.gamma(2.0, size=1000), rng.gamma(2.0, size=1000)
    counts = pool_bins(alpha, beta)["beliefs/pool"]
    assert counts == np.histogram(alpha / (alpha + beta), BINS, (0, 1))[0].tolist()


def test_sums_of_a_batch_are_those_of_its_tasks():
    predicted = np.array([0.0, 0.04, 0.5, 1.0])
    observed = np.array([0.0, 0.25, 0.75, 1.0])
    found = batch_bins(predicted, observed)
    assert found["beliefs/selected"] == [2] + [0] * 9 + [1] + [0] * 8 + [1]
    assert found["beliefs/predicted"][0] == 0.04
    assert found["beliefs/observed"][0] == 0.25
    assert found["beliefs/observed"][10] == 0.75
    assert found["beliefs/selected"][-1] == 1, "a mean of one belongs to the last bin"


def test_ages_of_a_batch():
    last = np.array([-1, 9, 8, 7, 6, -1, 0], np.int32)
    predicted, observed = np.full(7, 0.5), np.array([0.0, 0.5, 1.0, 0.5, 0.5, 0.25, 0.5])
    found = age_bins(last, 10, predicted, observed)
    assert found["beliefs/age_tasks"] == [2, 1, 1, 2, 0, 1, 0, 0, 0]
    assert len(found["beliefs/age_tasks"]) == len(AGES) + 2
    assert found["beliefs/age_observed"][:3] == [0.25, 0.5, 1.0]
    assert found["beliefs/age_error"][:3] == [0.3125, 0.0, 0.25]
