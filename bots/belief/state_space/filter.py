"""Gaussian filtering of binomial evidence in square-root form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bots.support.arrays import Float64

ITERATIONS = 30
FLOOR = 0.002
"""Least p(1-p) by which a group's rewards are taken to be informative."""
ALARM = 16.0
"""A shift common to many groups is a shock where its square is so many times its variance."""


class Conditioned(NamedTuple):
    """After a batch. mean: (d,). root: (d, d), with covariance root·rootᵀ. mode: (B,), logits at the posterior's mode.

    residual, variance: (B,), of each group's residual.
    """

    mean: Float64
    root: Float64
    residual: Float64
    variance: Float64
    mode: Float64


def sigmoid(x: Float64) -> Float64:
    """1/(1 + exp(-x)) without overflow."""
    value: Float64 = 0.5 * (1 + np.tanh(x / 2))
    return value


def condition(
    mean: Float64,
    root: Float64,
    design: Float64,
    offset: Float64,
    spread: Float64,
    successes: Float64,
    rollouts: Float64,
) -> Conditioned:
    """The state given a batch: Laplace's approximation at the joint mode of the state and all residuals.

    Group b has the logit ηᵦ = design(b)·x + offset(b) + rᵦ with rᵦ ~ N(0, spread(b)), and successes(b) of rollouts(b).
    mean: (d,), root: (d, d) of x. design: (B, d). offset, spread, successes, rollouts: (B,).
    In whitened states u, x = mean + root·u, a Newton step solves A u = Gᵀ D (z - η₀) with G = design·root,
    D = 1/(spread + 1/w), w = n p(1-p), and A = I + Gᵀ D G. A's eigenvalues are at least 1, so that the new root,
    root·A^(-1/2), can't lose positive definiteness, whatever the evidence. Steps that lose likelihood are halved.
    """
    gain = design @ root
    start = design @ mean + offset
    states = np.zeros(len(mean))
    residual = np.zeros(len(start))
    logit = start.copy()

    def objective(states: Float64, residual: Float64, logit: Float64) -> float:
        fit = successes * logit - rollouts * np.logaddexp(0, logit)
        return float(fit.sum() - states @ states / 2 - (residual**2 / spread).sum() / 2)

    best = objective(states, residual, logit)
    for _ in range(ITERATIONS):
        p = sigmoid(logit)
        weight = np.maximum(rollouts * p * (1 - p), 1e-9)
        target = logit - start + (successes - rollouts * p) / weight
        precision = 1 / (spread + 1 / weight)
        matrix = np.eye(len(mean)) + gain.T @ (precision[:, None] * gain)
        next_states = np.linalg.solve(matrix, gain.T @ (precision * target))
        next_residual = spread * precision * (target - gain @ next_states)
        step = 1.0
        while True:
            tried_states = states + step * (next_states - states)
            tried_residual = residual + step * (next_residual - residual)
            tried = start + gain @ tried_states + tried_residual
            value = objective(tried_states, tried_residual, tried)
            if value >= best - 1e-9 or step < 1e-3:
                break
            step /= 2
        moved = float(np.max(np.abs(tried - logit)))
        states, residual, logit, best = tried_states, tried_residual, tried, value
        if moved < 1e-7:
            break
    p = sigmoid(logit)
    weight = rollouts * np.maximum(p * (1 - p), FLOOR)
    precision = 1 / (spread + 1 / weight)
    matrix = np.eye(len(mean)) + gain.T @ (precision[:, None] * gain)
    lower = np.linalg.cholesky(matrix)
    half = np.asarray(np.linalg.solve(lower, root.T).T, np.float64)
    # Of a residual: what its own rewards leave, and what is not known of the state behind them.
    share = spread * precision
    behind = ((design @ half) ** 2).sum(axis=1)
    variance = spread * (1 - share) + share**2 * behind
    return Conditioned(mean + root @ states, half, residual, variance, logit)


def shifts(
    root: Float64,
    design: Float64,
    spread: Float64,
    common: Float64,
    posterior: Conditioned,
    start: Float64,
    successes: Float64,
    rollouts: Float64,
) -> Float64:
    """Variance of shifts common to sets of groups beyond what was believed possible, float64 (k,); 0 if there is none.

    common: float64 (B, k), 1 for the groups of a set. start: (B,), logits before the batch. The rest as in `condition`.
    The score test of a common shift δ of a set's logits, with indicator c: with M the predictive covariance of the
    working responses and ν their innovations at the mode, δ̂ = cᵀM⁻¹ν/cᵀM⁻¹c has the variance 1/cᵀM⁻¹c.
    """
    p = sigmoid(posterior.mode)
    weight = rollouts * np.maximum(p * (1 - p), FLOOR)
    innovation = posterior.mode - start + (successes - rollouts * p) / weight
    precision = 1 / (spread + 1 / weight)
    gain = design @ root
    matrix = np.eye(gain.shape[1]) + gain.T @ (precision[:, None] * gain)
    weighted = precision[:, None] * np.column_stack([innovation, common])
    solved = weighted - precision[:, None] * (gain @ np.linalg.solve(matrix, gain.T @ weighted))
    total = common.T @ solved[:, 0]
    information = np.maximum((common * solved[:, 1:]).sum(axis=0), 1e-300)
    excess: Float64 = np.where(
        total**2 >= ALARM * information, (total / information) ** 2 - 1 / information, 0.0
    )
    return excess


def add_noise(root: Float64, diagonal: Float64, *columns: Float64) -> Float64:
    """Lower triangular root of root·rootᵀ + diag(diagonal) + Σ column·columnᵀ; root may have more columns than rows.

    A sum of products is positive semidefinite; where rounding still defeats Cholesky, QR takes the root without them.
    """
    wide = np.concatenate([root, *(column[:, None] for column in columns)], axis=1)
    covariance = wide @ wide.T
    covariance[np.diag_indices_from(covariance)] += diagonal
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        _, upper = np.linalg.qr(np.concatenate([wide, np.diag(np.sqrt(diagonal))], axis=1).T)
        return np.asarray(upper.T, np.float64)
