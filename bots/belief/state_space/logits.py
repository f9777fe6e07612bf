"""Success probabilities whose logit is normal: their mean, their variance, and the Beta with the same two."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np

from bots.support.arrays import Float64
from bots.support.compile import compiled

_POINTS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
POINTS: Float64 = _POINTS
WEIGHTS: Float64 = _WEIGHTS / _WEIGHTS.sum()
LARGEST = 30.0
"""A prior of a greater logit counts as this one; σ(30) is 1 to 13 digits."""
SMALLEST = 1e-100
"""Smaller pseudo-counts count as this one, whose square can be divided by."""
LEAST = 1e-9
"""Means are kept this far from 0 and 1, so that no Beta parameter vanishes."""


@compiled
def sigmoid(x: float) -> float:
    """1/(1 + exp(-x)) without overflow."""
    if x >= 0.0:
        return 1.0 / (1.0 + exp(-x))
    e = exp(x)
    return e / (1.0 + e)


@compiled
def moments(logit: Float64, variance: Float64, points: Float64, weights: Float64) -> tuple[Float64, Float64]:
    """Mean and variance of σ(η), η ~ N(logit, variance): float64 (N,) each, by Gauss-Hermite quadrature."""
    mean, spread = np.empty(len(logit)), np.empty(len(logit))
    for i in range(len(logit)):
        scale = sqrt(variance[i])
        first, second = 0.0, 0.0
        for j in range(len(points)):
            p = sigmoid(logit[i] + scale * points[j])
            first += weights[j] * p
            second += weights[j] * p * p
        mean[i] = min(max(first, 1e-9), 1.0 - 1e-9)
        spread[i] = max(second - first * first, 0.0)
    return mean, spread


def logit_normal(logit: Float64, variance: Float64) -> tuple[Float64, Float64]:
    """See `moments`."""
    return moments(logit, variance, POINTS, WEIGHTS)


def matching_beta(mean: Float64, variance: Float64) -> tuple[Float64, Float64]:
    """α and β of the Beta distribution with that mean and variance; its mass is between 1e-3 and 1e9."""
    mass = mean * (1 - mean) / np.maximum(variance, 1e-300) - 1
    mass = np.clip(mass, 1e-3, 1e9)
    return mean * mass, (1 - mean) * mass


def prior_logit(alpha: Float64, beta: Float64) -> Float64:
    """E logit θ of θ ~ Beta(α, β), within ±`LARGEST`."""
    mean: Float64 = np.clip(digamma(alpha) - digamma(beta), -LARGEST, LARGEST)
    return mean


def digamma(x: Float64) -> Float64:
    """ψ(x) for x > 0: recurrence up to 8, then the asymptotic series (Abramowitz and Stegun 6.3.18)."""
    x, shift = np.maximum(x, SMALLEST, dtype=np.float64), np.zeros(np.shape(x))
    for _ in range(8):
        small = x < 8
        shift -= np.where(small, 1 / x, 0)
        x = np.where(small, x + 1, x)
    inverse = 1 / (x * x)
    series = inverse * (1 / 12 - inverse * (1 / 120 - inverse / 252))
    result: Float64 = shift + np.log(x) - 0.5 / x - series
    return result


def trigamma(x: Float64) -> Float64:
    """ψ'(x) for x > 0, likewise (6.4.12)."""
    x, shift = np.maximum(x, SMALLEST, dtype=np.float64), np.zeros(np.shape(x))
    for _ in range(8):
        small = x < 8
        shift += np.where(small, 1 / (x * x), 0)
        x = np.where(small, x + 1, x)
    inverse = 1 / (x * x)
    series = inverse * (1 / 6 - inverse * (1 / 30 - inverse / 42))
    result: Float64 = shift + 1 / x + 0.5 * inverse + series / x
    return result
