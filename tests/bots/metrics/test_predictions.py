"""Calibration against an example worked by hand and against brute force."""

import math

import numpy as np
import pytest

from bots.metrics import calibration


def test_calibration_by_hand():
    # Two tasks, four rollouts each: q = .75, .25 and p̂ = 1, .5: successes 4 and 2, failures 0 and 2.
    c = calibration([0.75, 0.25, np.nan], [1.0, 0.5, 0.1], 4)
    assert c.tasks == 2
    assert c.brier == pytest.approx((0.25**2 + 0.25**2) / 2)
    assert c.log_loss == pytest.approx(-(math.log(0.75) + 0.5 * math.log(0.25) + 0.5 * math.log(0.75)) / 2)
    assert c.correlation == pytest.approx(1.0)
    assert c.auc == pytest.approx((4 * 2 + 2 * 2 / 2) / (6 * 2))
    assert calibration([0.0], [0.5]).log_loss == math.inf
    assert calibration([0.0, 1.0], [0.0, 1.0]).log_loss == 0.0
    with pytest.raises(ValueError, match="no predictions"):
        calibration([np.nan], [0.5])


def test_calibration_equals_brute_force_over_rollouts():
    rng = np.random.default_rng(0)
    n = rng.integers(1, 9, 60)
    q = rng.integers(1, 10, 60) / 10
    s = rng.binomial(n, rng.random(60))
    c = calibration(q, s / n, n)
    score = np.repeat(q, n)
    hit = np.concatenate([np.arange(k) < a for k, a in zip(n, s, strict=True)])
    wins = score[hit][:, None] - score[~hit][None, :]
    assert c.auc == pytest.approx(np.mean((wins > 0) + 0.5 * (wins == 0)))
    assert c.log_loss == pytest.approx(-np.mean(np.where(hit, np.log(score), np.log(1 - score))))
    assert c.correlation == pytest.approx(np.corrcoef(np.repeat(q, n), np.repeat(s / n, n))[0, 1])
