"""Metrics against examples worked by hand, and against scipy and brute force."""

import math

import numpy as np
import pytest
from scipy import stats

from bots.metrics import (
    Curve,
    best_so_far,
    calibration,
    effective_task_ratio,
    mean_interval,
    paired_difference,
    running_best,
    student_t_quantile,
    time_to_best,
)


def test_etr_counts_groups_that_are_not_constant():
    assert effective_task_ratio(np.array([[0, 0], [1, 1], [0, 1], [1, 0]])) == 0.5
    # Pass rate 0.5 without variance teaches nothing; a ragged batch is allowed.
    assert effective_task_ratio([[0.5, 0.5], [0.2, 0.3, 0.2], [1.0]]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([], "empty batch"),
        ([[]], "non-empty"),
        ([[0.0, 1.5]], r"group 0 has the reward 1\.5"),
        (np.array([[0.0, np.nan]]), "reward nan"),
        (np.array([0.0, 1.0]), r"\(tasks, rollouts\)"),
    ],
)
def test_etr_refuses(rewards, message):
    with pytest.raises(ValueError, match=message):
        effective_task_ratio(rewards)


RANDOM = Curve(at=[0, 40, 80, 120, 160], scores=[0.20, 0.30, 0.40, 0.36, 0.38])
FASTER = Curve(at=[0, 40, 80, 120, 160], scores=[0.20, 0.38, 0.35, 0.44, 0.42])


def test_time_to_best_by_hand():
    # Target at 50 %: .20 + .5·(.40−.20) = .30, random at 40, ours at 40; at 100 %: .40, 80 against 120.
    assert time_to_best(FASTER, RANDOM, 0.5) == 1.0
    assert time_to_best(FASTER, RANDOM, 1.0) == 1.5
    assert time_to_best(FASTER, RANDOM, 0.9) == 40 / 80  # target .38
    assert time_to_best(RANDOM, RANDOM, 1.0) == 1.0
    assert time_to_best(Curve([0, 40], [0.2, 0.3]), RANDOM, 1.0) == math.inf
    assert math.isnan(time_to_best(FASTER, Curve([0, 40], [0.5, 0.4]), 0.5))


def test_best_so_far_by_hand():
    assert best_so_far(FASTER, RANDOM, 0.25) == pytest.approx(0.38 / 0.30)
    assert best_so_far(FASTER, RANDOM, 0.6) == pytest.approx(0.38 / 0.40)  # the dip to .35 does not count
    assert best_so_far(FASTER, RANDOM) == pytest.approx(0.44 / 0.40)
    assert best_so_far(FASTER, RANDOM, budget=40) == pytest.approx(0.38 / 0.30)
    assert running_best(FASTER.scores).tolist() == [0.20, 0.38, 0.38, 0.44, 0.44]
    with pytest.raises(ValueError, match=r"fraction is 25"):
        best_so_far(FASTER, RANDOM, 25)
    with pytest.raises(ValueError, match="strictly increasing"):
        Curve([0, 40, 40], [1, 2, 3])


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


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 11, 30])
def test_t_quantile_equals_scipy(degrees):
    for probability in (0.025, 0.5, 0.9, 0.975, 0.995):
        expected = stats.t.ppf(probability, degrees)
        assert student_t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_paired_difference():
    rng = np.random.default_rng(1)
    theirs = rng.normal(0, 5, 8)
    ours = theirs + rng.normal(-0.3, 0.1, 8)  # the pairing removes the spread between seeds
    result = paired_difference(ours, theirs)
    low, high = stats.t.interval(0.95, 7, np.mean(ours - theirs), stats.sem(ours - theirs))
    assert (result.low, result.high) == (pytest.approx(low), pytest.approx(high))
    assert result.high < 0
    assert (result.seeds, result.never) == (8, 0)
    resampled = paired_difference(ours, theirs, method="bootstrap")
    assert resampled.low < result.mean < resampled.high < 0
    never = mean_interval([0.5, math.inf, 0.7])
    assert (never.mean, never.never) == (math.inf, 1)
    assert math.isnan(never.low)
    assert math.isnan(mean_interval([0.5]).high)
    with pytest.raises(ValueError, match="paired by seed"):
        paired_difference([1.0], [1.0, 2.0])
