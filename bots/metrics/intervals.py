"""Means over seeds with their confidence intervals, also of paired differences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval.

    mean, low, high: of the paired differences (or values). Where a value is infinite (a run that never reached
    its target) the mean is infinite too and the bounds are nan; with a single seed the bounds are nan.
    seeds: how many. never: how many of the values are not finite.
    """

    mean: float
    low: float
    high: float
    seeds: int
    never: int


def paired_difference(
    ours: npt.ArrayLike,
    theirs: npt.ArrayLike,
    confidence: float = 0.95,
    method: Literal["t", "bootstrap"] = "t",
    seed: int = 0,
) -> Interval:
    """Mean of ours − theirs, (S,) each, paired by position (the same seed), with its interval."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} and {b.shape} values cannot be paired by seed")
    return mean_interval(a - b, confidence, method, seed)


def mean_interval(
    values: npt.ArrayLike,
    confidence: float = 0.95,
    method: Literal["t", "bootstrap"] = "t",
    seed: int = 0,
) -> Interval:
    """Mean of one value per seed, (S,), with its confidence interval.

    method: "t" is Student's interval; "bootstrap" the percentile interval of 10,000 resamples, for values
    far from normal (it is too narrow below about ten seeds). seed: of the resampling.
    """
    v = np.asarray(values, np.float64)
    if v.ndim != 1 or v.size == 0:
        raise ValueError(f"values have shape {v.shape}; one number a seed is needed")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must be in (0, 1)")
    never = int(np.sum(~np.isfinite(v)))
    mean, low, high = float(np.mean(v)), math.nan, math.nan
    if never == 0 and v.size > 1:
        if method == "t":
            half = student_t_quantile((1 + confidence) / 2, v.size - 1) * np.std(v, ddof=1) / np.sqrt(v.size)
            low, high = mean - float(half), mean + float(half)
        elif method == "bootstrap":
            picks = np.random.default_rng(seed).integers(0, v.size, (10_000, v.size))
            tails = np.quantile(v[picks].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
            low, high = float(tails[0]), float(tails[1])
        else:
            raise ValueError(f"method is {method!r}; it must be 't' or 'bootstrap'")
    return Interval(mean, low, high, v.size, never)


@cache
def student_t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t with a whole number of degrees of freedom, by bisection of its exact CDF."""
    if not 0 < probability < 1 or degrees < 1:
        raise ValueError(f"no t quantile for probability {probability} and {degrees} degrees of freedom")
    if probability < 0.5:
        return -student_t_quantile(1 - probability, degrees)
    low, high = 0.0, 1.0
    while _student_t_cdf(high, degrees) < probability:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_t_cdf(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def _student_t_cdf(t: float, degrees: int) -> float:
    """P(T ≤ t) for t ≥ 0 (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    sin, cos = math.sin(angle), math.cos(angle)
    term = cos if degrees % 2 else 1.0
    series = term if degrees > 1 else 0.0
    for k in range(3 if degrees % 2 else 2, degrees - 1, 2):
        term *= cos**2 * (k - 1) / k
        series += term
    central = 2 / math.pi * (angle + sin * series) if degrees % 2 else sin * series
    return (1 + central) / 2
