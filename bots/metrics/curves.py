"""Learning curves and their comparison: TTB and BSF.

Scores are the evaluation's, larger is better. The abscissa of a learning curve is steps, generated tokens or
seconds, and the ratios are then in steps, tokens or wall-clock time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bots.support.arrays import Float64


@dataclass(frozen=True)
class Curve:
    """A learning curve: `scores[i]` was measured after `at[i]` steps, tokens or seconds.

    at: float64 (E,), strictly increasing, ≥ 0. scores: float64 (E,), finite.
    Raises ValueError for anything else.
    """

    at: Float64
    scores: Float64

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


def time_to_best(run: Curve, random: Curve, fraction: float = 1.0) -> float:
    """TTB(fraction): when `run` reaches that share of random's best gain, over when random does.

    The target is score_0 + fraction·(best_random − score_0), with score_0 the baseline's first score (both
    start from the same policy). Below 1 is faster than random.

    Returns inf if the run never reaches it, nan if the ratio is undefined: random never rises above score_0, or reaches
    the target at abscissa 0. With fraction 1 the target is the best of many noisy scores, which an equal run reaches in
    half of all cases only: below 1 says that the run is faster, above 1 does not say that it is slower.
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


def running_mean(values: Float64, width: int) -> Float64:
    """Mean of the last `width` values at each position, (S,); of all so far at the start."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    means: Float64 = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def _check_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"{name} is {value}; it must be in (0, 1]")
