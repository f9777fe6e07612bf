"""Tests over paired seeds that need no normal distribution, and correction for the number of comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MOST_PAIRS = 20
"""Sign patterns are counted one by one up to 2^20."""
ROUNDING = 1e-12
"""Differences that differ by less, as a share of the largest value, are equal but for rounding: .3 - .1 and .5 - .3."""


def signed_rank_test(ours: npt.ArrayLike, theirs: npt.ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test on pairs, exact also with ties (equal but for rounding).

    A value may be infinite (a run that never reached its target): only the order of the differences counts, and two
    infinities are a tie. Pairs without a difference are left out (Wilcoxon 1945). With S pairs the least
    possible value is 2^(1-S).
    ours, theirs: (S,), paired by position, at most 20. Raises ValueError for other shapes and NaN.
    Returns 1.0 where no pair differs.
    """
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.ndim != 1 or a.shape != b.shape or not 0 < a.size <= MOST_PAIRS:
        raise ValueError(f"{a.shape} and {b.shape} values; two equal rows of 1 to {MOST_PAIRS} are needed")
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("a value is NaN; leave that pair out")
    differ = a != b
    difference = _rounded(a[differ] - b[differ], max(_largest(a), _largest(b)))
    difference = difference[difference != 0]
    if difference.size == 0:
        return 1.0
    ranks = _ranks(np.abs(difference))
    observed = abs(float(np.sum(np.sign(difference) * ranks)))
    # The null distribution: every pattern of signs is equally likely.
    sums = np.zeros(1)
    for rank in ranks:
        sums = np.concatenate([sums - rank, sums + rank])
    return float(np.mean(np.abs(sums) >= observed - 1e-9))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): at a threshold of 5 % any claim is false with chance ≤ 5 %."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    worst = 0.0
    for place, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = worst
    return [float(value) for value in corrected]


def _largest(values: npt.NDArray[np.float64]) -> float:
    """The largest finite absolute value; 0 if there is none."""
    return float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))


def _rounded(differences: npt.NDArray[np.float64], largest: float) -> npt.NDArray[np.float64]:
    """Differences of values up to `largest`, in units in which rounding cannot be seen."""
    unit = ROUNDING * largest
    rounded: npt.NDArray[np.float64] = np.round(differences / unit) if unit > 0 else differences
    return rounded


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 1, ties sharing their mean."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: npt.NDArray[np.float64] = last - (counts - 1) / 2
    return mean[group]
