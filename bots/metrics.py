"""The comparison figures: ETR, TTB, BSF, calibration of predictions, and paired comparison over seeds.

One definition for every report (BOTS, arXiv 2510.26374, section 5 and its appendix on metrics). Scores are
whatever the evaluation yields, larger being better; the abscissa of a learning curve may be steps, generated
tokens or seconds, and the ratios are then on steps, tokens or wall-clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def effective_task_ratio(rewards: npt.ArrayLike | Sequence[npt.ArrayLike]) -> float:
    """ETR: the share of a batch's tasks whose group of rewards is not constant.

    For binary rewards that is 0 < observed pass rate < 1; for rewards in [0, 1] in general it is a non-zero
    variance within the group. Only such a group gives a group-relative advantage anything to learn from.

    rewards: (B, n) in [0, 1], or a sequence of B one-dimensional groups where n differs between tasks.
    Raises ValueError for no tasks, an empty group, and NaN or rewards outside [0, 1].
    """
    groups = [np.atleast_1d(np.asarray(group, np.float64)) for group in _rows(rewards)]
    if not groups:
        raise ValueError("no rewards: the effective task ratio of an empty batch is undefined")
    for row, group in enumerate(groups):
        if group.ndim != 1 or group.size == 0:
            raise ValueError(f"group {row} has shape {group.shape}; it must be a non-empty list of rewards")
        outside = ~((group >= 0) & (group <= 1))
        if outside.any():
            raise ValueError(f"group {row} has the reward {group[outside][0]}; it must be in [0, 1]")
    return float(np.mean([group.min() < group.max() for group in groups]))


def _rows(rewards: npt.ArrayLike | Sequence[npt.ArrayLike]) -> Sequence[npt.ArrayLike]:
    if isinstance(rewards, np.ndarray):
        if rewards.ndim != 2:
            raise ValueError(f"rewards have shape {rewards.shape}; they must be (tasks, rollouts)")
        return list(rewards)
    return list(rewards)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Curve:
    """A learning curve: `scores[i]` was measured after `at[i]` steps, tokens or seconds.

    at: float64 (E,), strictly increasing, ≥ 0. scores: float64 (E,), finite.
    Raises ValueError for anything else.
    """

    at: Floats
    scores: Floats

    def __post_init__(self) -> None:
        at, scores = np.asarray(self.at, np.float64), np.asarray(self.scores, np.float64)
        if at.ndim != 1 or at.shape != scores.shape or at.size == 0:
            raise ValueError(f"at {at.shape} and scores {scores.shape} must be two equal, non-empty rows")
        if not (np.isfinite(at).all() and at[0] >= 0 and (np.diff(at) > 0).all()):
            raise ValueError(f"at must be finite, ≥ 0 and strictly increasing; got {at}")
        if not np.isfinite(scores).all():
            raise ValueError(f"score {scores[~np.isfinite(scores)][0]} is not a finite number")
        object.__setattr__(self, "at", at)
        object.__setattr__(self, "scores", scores)

    def first_reaching(self, target: float) -> float:
        """The first measured point with a score of at least `target`; inf if there is none."""
        reached = self.scores >= target
        return float(self.at[np.argmax(reached)]) if reached.any() else math.inf

    def best_until(self, budget: float) -> float:
        """The best score measured at or before `budget`; ValueError if nothing was measured by then."""
        within = self.at <= budget
        if not within.any():
            raise ValueError(f"nothing was measured up to {budget}; the first measurement is at {self.at[0]}")
        return float(self.scores[within].max())


def running_best(scores: npt.ArrayLike) -> Floats:
    """float64 (E,): the best score so far at each measurement."""
    best: Floats = np.maximum.accumulate(np.asarray(scores, np.float64))
    return best


def time_to_best(run: Curve, random: Curve, fraction: float = 1.0) -> float:
    """TTB(fraction): when `run` gets to that share of random's best gain, over when random does.

    The target is score_0 + fraction·(best_random − score_0), with score_0 the baseline's first score (both
    start from the same policy). Below 1 is faster than random.

    Returns inf if the run never gets there, nan if the ratio is undefined: random never rises above
    score_0, or is there at abscissa 0.
    """
    _check_share("fraction", fraction)
    start, best = float(random.scores[0]), float(random.scores.max())
    # A score that equals the target but for rounding has reached it.
    target = start + fraction * (best - start) - 1e-12 * max(abs(start), abs(best))
    reference = random.first_reaching(target)
    if best <= start or reference == 0:
        return math.nan
    return run.first_reaching(target) / reference


def best_so_far(run: Curve, random: Curve, fraction: float = 1.0, budget: float | None = None) -> float:
    """BSF(fraction): the run's best score within that share of the budget, over random's within the same.

    budget: in the unit of the abscissa; the baseline's last measurement by default. Above 1 is better than
    random. Returns nan or inf where random's best is 0.
    """
    _check_share("fraction", fraction)
    limit = fraction * (float(random.at[-1]) if budget is None else budget)
    ours, theirs = run.best_until(limit), random.best_until(limit)
    if theirs == 0:
        return math.nan if ours == 0 else math.copysign(math.inf, ours)
    return ours / theirs


def _check_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"{name} is {value}; it must be in (0, 1]")


@dataclass(frozen=True)
class Calibration:
    """How well one-step-ahead predictions fitted the observed pass rates.

    brier: mean of (q − p̂)² over tasks. It contains p̂'s own sampling noise p(1−p)/n, so 0 cannot be reached.
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

    rollouts: n (T,) or a scalar, the weight of each task in every figure; equal weights by default. Tasks for
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


def _x_log_y(x: Floats, y: Floats) -> Floats:
    """x·ln y with 0·ln 0 = 0."""
    logs = np.full_like(y, -np.inf)
    np.log(y, out=logs, where=y > 0)
    return np.multiply(x, logs, out=np.zeros_like(x), where=x > 0)


def _correlation(x: Floats, y: Floats, weight: Floats) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    dx, dy = x - np.sum(weight * x), y - np.sum(weight * y)
    return float(np.sum(weight * dx * dy) / np.sqrt(np.sum(weight * dx**2) * np.sum(weight * dy**2)))


def _auc(score: Floats, positive: Floats, negative: Floats) -> float:
    """Weighted Mann–Whitney statistic of `score`, ties counting half."""
    total = positive.sum() * negative.sum()
    if total == 0:
        return math.nan
    _, group = np.unique(score, return_inverse=True)
    above, below = np.bincount(group, positive), np.bincount(group, negative)
    beaten = np.cumsum(below) - below
    return float(np.sum(above * (beaten + below / 2)) / total)


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval.

    mean, low, high: of the paired differences (or values). Where a value is infinite (a run that never got
    there) the mean is infinite too and the bounds are nan; with a single seed the bounds are nan.
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
    """Mean of one value a seed, (S,), with its confidence interval.

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
