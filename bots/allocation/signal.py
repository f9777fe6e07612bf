"""The budget goes where the posterior expects the largest additional signal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bots.allocation.base import Allocation, AllocationRequest
from bots.allocation.greedy import spend
from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.support.arrays import Float64, Rows


class Signal(Allocation):
    """Maximises the batch's expected signal under the posterior, Σ_k E[S(n_k, p_k)] with p_k ~ Beta(α_k, β_k).

    A group's rewards r_1 … r_n have mean r̄. S is what its advantages leave of the gradient, as set by `measure`:

    deviation: S = √(r̄(1-r̄)). With GRPO's advantages (r - r̄)/s a group's gradient is (1/n)·Σ_i A_i ∇log π(y_i). Let η be
        the logit of p, so that ∂ log π/∂η = r - p for the success itself: the gradient along η is
        (1/n)·Σ_i A_i (r_i - p) = s, the rewards' standard deviation, √(r̄(1-r̄)) for binary rewards.
    variance: S = r̄(1-r̄). The same for centred advantages r - r̄ (Dr. GRPO). E[S] = (1 - 1/n)·E[p(1-p)], hence the
        optimum n_k ∝ √E[p_k(1-p_k)], which is also Neyman's allocation: it minimises the variance of the batch's
        gradient, Σ_k E[p_k(1-p_k)]/n_k.
    mixed: S = 1 if the group has unequal rewards, else 0. E[S] = 1 - E[p^n] - E[(1-p)^n] is the expected effective task
        ratio.

    All three are concave in n, so taking the largest gains first is optimal. The expectation is exact for the Beta
    posterior; any other belief is replaced by the Beta with the same mean and variance. S is concave in p as well: of
    two tasks with the same mean, the less well known one has less expected signal, as it may be hopeless or mastered.
    """

    def __init__(
        self, pool: TaskPool, measure: str = "deviation", least: int = 2, most: int | None = None
    ) -> None:
        super().__init__(pool, least, most)
        if measure not in MEASURES:
            raise ValueError(f"measure is {measure!r}; known are {', '.join(MEASURES)}")
        self.measure = measure

    def allocate(self, beliefs: Belief, request: AllocationRequest, rng: np.random.Generator) -> Rows:
        """See Allocation."""
        alpha, beta = beliefs.alpha[request.rows], beliefs.beta[request.rows]
        return spend(MEASURES[self.measure](alpha, beta, request.least, request.most), request)


def mixed_gains(alpha: Float64, beta: Float64, least: int, most: int) -> Float64:
    """E[S(n + 1)] - E[S(n)] of `mixed` for n from `least` to `most` - 1, float64 (B, most - least).

    = E[p^n(1-p)] + E[(1-p)^n p], where E[p^n] = Π_{i<n} (α+i)/(α+β+i).
    """
    mass, i = (alpha + beta)[:, None], np.arange(most)[None, :]
    # Column n: from the n-th moment to that of p^n(1-p), one failure after n successes.
    successes = _moments(alpha, mass, i) * beta[:, None] / (mass + i)
    failures = _moments(beta, mass, i) * alpha[:, None] / (mass + i)
    gain: Float64 = (successes + failures)[:, least:]
    return gain


def _moments(alpha: Float64, mass: Float64, i: np.ndarray) -> Float64:
    """E[p^n], n = 0 … N-1, float64 (B, N)."""
    ratios = (alpha[:, None] + i[:, :-1]) / (mass + i[:, :-1])
    moments: Float64 = np.concatenate([np.ones_like(mass), np.cumprod(ratios, axis=1)], axis=1)
    return moments


def variance_gains(alpha: Float64, beta: Float64, least: int, most: int) -> Float64:
    """As `mixed_gains`, for `variance`: E[p(1-p)]/(n(n+1)), E[p(1-p)] = αβ/((α+β)(α+β+1))."""
    mass, n = alpha + beta, np.arange(least, most)
    gain: Float64 = (alpha * beta / (mass * (mass + 1)))[:, None] / (n * (n + 1))[None, :]
    return gain


def deviation_gains(alpha: Float64, beta: Float64, least: int, most: int) -> Float64:
    """As `mixed_gains`, for `deviation`, with a beta-binomial number of successes."""
    tasks = len(alpha)
    expected = np.empty((tasks, most - least + 1))
    # Probabilities of s = 0 … n successes, extended by one rollout at a time (Pólya's urn).
    chance = np.zeros((tasks, most + 1))
    chance[:, 0] = 1
    s = np.arange(most + 1)
    for n in range(most + 1):
        if n >= least:
            rate = s[: n + 1] / n
            expected[:, n - least] = chance[:, : n + 1] @ np.sqrt(rate * (1 - rate))
        if n < most:
            mass = (alpha + beta + n)[:, None]
            won = chance[:, : n + 1] * (alpha[:, None] + s[: n + 1]) / mass
            lost = chance[:, : n + 1] * (beta[:, None] + n - s[: n + 1]) / mass
            chance[:, : n + 2] = 0
            chance[:, : n + 1] += lost
            chance[:, 1 : n + 2] += won
    gain: Float64 = np.maximum(np.diff(expected, axis=1), 0)
    return gain


MEASURES: dict[str, Callable[[Float64, Float64, int, int], Float64]] = {
    "deviation": deviation_gains,
    "variance": variance_gains,
    "mixed": mixed_gains,
}
