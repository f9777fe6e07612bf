"""Intervals against scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from bots.metrics import mean_interval, paired_difference, student_t_quantile


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
