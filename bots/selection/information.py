"""Compiled: mutual information between a Beta-distributed success rate and the successes of n rollouts."""

from __future__ import annotations

from math import exp, lgamma, log

import numpy as np

from bots.support.arrays import Float64
from bots.support.compile import compiled


@compiled
def digamma(x: float) -> float:
    """ψ(x), x > 0, by recurrence to x ≥ 10 and the asymptotic series (Abramowitz, Stegun 6.3.18)."""
    total = 0.0
    while x < 10.0:
        total -= 1.0 / x
        x += 1.0
    y = 1.0 / (x * x)
    series = y * (1.0 / 12.0 - y * (1.0 / 120.0 - y * (1.0 / 252.0 - y * (1.0 / 240.0 - y / 132.0))))
    return total + log(x) - 0.5 / x - series


@compiled
def entropy(a: float, b: float) -> float:
    """Differential entropy of Beta(a, b), in nats."""
    beta = lgamma(a) + lgamma(b) - lgamma(a + b)
    return beta + (a + b - 2.0) * digamma(a + b) - (a - 1.0) * digamma(a) - (b - 1.0) * digamma(b)


@compiled
def mutual_information(alpha: Float64, beta: Float64, rollouts: int) -> Float64:
    """I(S; Φ) = H(Φ) - Σ_s P(s)·H(Φ|s) in nats, float64 (R,): Φ ~ Beta(α, β), S ~ Binomial(rollouts, Φ), so that
    Φ|s ~ Beta(α+s, β+rollouts-s) and S is beta-binomial."""
    information = np.empty(len(alpha))
    for k in range(len(alpha)):
        a, b = alpha[k], beta[k]
        chance = 0.0  # log P(s)
        for i in range(rollouts):
            chance += log((b + i) / (a + b + i))
        after = 0.0
        for s in range(rollouts + 1):
            after += exp(chance) * entropy(a + s, b + rollouts - s)
            if s < rollouts:
                left = rollouts - s
                chance += log(left / (s + 1.0) * (a + s) / (b + left - 1.0))
        information[k] = max(entropy(a, b) - after, 0.0)
    return information
