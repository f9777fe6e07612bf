"""How well predicted pass rates fit the observed ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bots.support.arrays import Float64


@dataclass(frozen=True)
class Calibration:
    """How well one-step-ahead predictions fit the observed pass rates.

    brier: mean of (q − p̂)² over tasks. It contains p̂'s own sampling noise p(1−p)/n, so 0 is out of reach.
    log_loss: −mean of p̂·ln q + (1−p̂)·ln(1−q), in nats a rollout; inf if a certain prediction was wrong.
    correlation: Pearson's, of q and p̂; nan where either is constant.
    auc: probability that a random success had a larger q than a random failure, ties counting half, with
        rollouts as units (a fractional reward r is r of a success); nan without successes or failures.
    tasks: number of predictions compared.
    """

    brier: float
    log_loss: float
    correlation: float
    auc: float
    tasks: int


def calibration(
    predicted: npt.ArrayLike, observed: npt.ArrayLike, rollouts: npt.ArrayLike | None = None
) -> Calibration:
    """Compare predictions q (T,) with observed pass rates p̂ (T,), made before they were observed.

    rollouts: n (T,) or a scalar, the weight of each task in every metric; equal weights by default. Tasks for
    which q is NaN (no prediction) are left out and not counted in `tasks`.
    Raises ValueError for unequal shapes, values outside [0, 1], no prediction at all, weights not > 0.
    """
    q, p = np.asarray(predicted, np.float64), np.asarray(observed, np.float64)
    if q.ndim != 1 or q.shape != p.shape:
        raise ValueError(f"predicted {q.shape} and observed {p.shape} must be two equal rows")
    weight = np.broadcast_to(np.asarray(1.0 if rollouts is None else rollouts, np.float64), q.shape)
    made = ~np.isnan(q)
    q, p, weight = q[made], p[made], weight[made]
    if q.size == 0:
        raise ValueError("no predictions to compare")
    for name, values in (("predicted", q), ("observed", p)):
        outside = ~((values >= 0) & (values <= 1))
        if outside.any():
            raise ValueError(f"{name} pass rate {values[outside][0]} must be in [0, 1]")
    if not (weight > 0).all():
        raise ValueError(f"rollouts must be > 0; got {weight[~(weight > 0)][0]}")
    weight = weight / weight.sum()
    return Calibration(
        brier=float(np.sum(weight * (q - p) ** 2)),
        log_loss=-float(np.sum(weight * (_x_log_y(p, q) + _x_log_y(1 - p, 1 - q)))),
        correlation=_correlation(q, p, weight),
        auc=_auc(q, weight * p, weight * (1 - p)),
        tasks=q.size,
    )


def _x_log_y(x: Float64, y: Float64) -> Float64:
    """x·ln y with 0·ln 0 = 0."""
    logs = np.full_like(y, -np.inf)
    np.log(y, out=logs, where=y > 0)
    return np.multiply(x, logs, out=np.zeros_like(x), where=x > 0)


def _correlation(x: Float64, y: Float64, weight: Float64) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    dx, dy = x - np.sum(weight * x), y - np.sum(weight * y)
    return float(np.sum(weight * dx * dy) / np.sqrt(np.sum(weight * dx**2) * np.sum(weight * dy**2)))


def _auc(score: Float64, positive: Float64, negative: Float64) -> float:
    """Weighted Mann–Whitney statistic of `score`, ties counting half."""
    total = positive.sum() * negative.sum()
    if total == 0:
        return math.nan
    _, group = np.unique(score, return_inverse=True)
    above, below = np.bincount(group, positive), np.bincount(group, negative)
    beaten = np.cumsum(below) - below
    return float(np.sum(above * (beaten + below / 2)) / total)
