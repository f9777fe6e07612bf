"""Comparison of arms: each against the baseline on the same seeds, with intervals and corrected tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bots.metrics import Interval, best_so_far, holm, mean_interval, signed_rank_test, time_to_best
from bots.support.natural_order import natural
from pipelines.studies.results import StudyResults, StudyRun

UNITS = {"steps": "steps", "tokens": "generated tokens", "seconds": "training seconds"}
COSTS = tuple(UNITS)
TTB, BSF = (0.5, 0.75, 1.0), (0.25, 0.5, 1.0)
LEVEL = 0.05
LAST_SCORE = "last score"
"""The score of the last evaluation: what training leaves behind, where the best score may be a moment's."""
LAST = "last/"
"""Prefix of the last scores by domain."""
EVALUATION = "evaluation/"
"""Prefix of the last evaluation's other metrics."""
NOTHING = Interval(math.nan, math.nan, math.nan, 0, 0)
"""The interval of a metric that no seed has."""
FEWEST = 3
"""Least number of seeds for an interval. With two, Student's factor is 12.7 and the interval is useless."""


@dataclass(frozen=True)
class Metric:
    """One metric of one arm.

    values: (S,), one per seed. interval: of their mean; for cost ratios (TTB) of their geometric mean, which is
    symmetric under inversion. p: signed-rank test against the baseline, corrected for the number of arms; nan if not
    tested; for a TTB100 that some never reach see `_slower`. infinite: how an infinite value reads: a TTB that was
    never reached, a BSF over a baseline at 0.
    """

    values: np.ndarray
    interval: Interval
    p: float = math.nan
    infinite: str = "never"

    @property
    def holds(self) -> bool:
        """Whether the difference from the baseline is significant."""
        return self.p < LEVEL

    @property
    def middle(self) -> float:
        """The mean; the median if some values are infinite, because one would make the mean infinite."""
        return float(np.median(self.values)) if self.interval.never else self.interval.mean

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Bounds of the interval; None with fewer than `FEWEST` seeds or infinite values."""
        if len(self.values) < FEWEST or self.interval.never:
            return None
        return self.interval.low, self.interval.high


@dataclass(frozen=True)
class Comparison:
    """The arms of one part on one pool. metrics: by arm, then by name ("TTB50/steps", "ETR" …)."""

    pool: str
    seeds: dict[str, int]
    metrics: dict[str, dict[str, Metric]]

    def compared_on(self, arm: str, cost: str) -> bool:
        """Whether any run of the arm is comparable with the baseline on a cost; seconds often are not."""
        return any(len(self.metrics[arm][name].values) for name in ratio_names(cost))

    def has_rivals_on(self, cost: str, baseline: str) -> bool:
        """Whether any arm except the baseline is comparable with it on a cost."""
        return any(self.compared_on(arm, cost) for arm in self.metrics if arm != baseline)

    def most_seeds(self, arms: list[str]) -> int:
        """The largest number of seeds among these arms; the baseline may have more than any of them."""
        return max(self.seeds.get(arm, 0) for arm in arms)


def compare_arms(
    results: StudyResults, pool: str, arms: list[str], baseline: str, seeds: Sequence[int]
) -> Comparison:
    """Compare the finished runs; a run without a baseline run of the same seed is ignored."""
    pairs = {arm: both for arm in arms if (both := paired(results, pool, arm, baseline, seeds))}
    metrics = {arm: _metrics(both) for arm, both in pairs.items()}
    tested = [arm for arm in metrics if arm != baseline]
    for name in [*ratio_names(), LAST_SCORE]:
        corrected = holm([metrics[arm][name].p for arm in tested])
        for arm, p in zip(tested, corrected, strict=True):
            metrics[arm][name] = replace(metrics[arm][name], p=p)
    return Comparison(pool, {arm: len(both) for arm, both in pairs.items()}, metrics)


def paired(
    results: StudyResults, pool: str, arm: str, baseline: str, seeds: Sequence[int]
) -> list[tuple[StudyRun, StudyRun]]:
    """Pairs of an arm's run and the baseline's run of the same seed, if both exist."""
    found = ((results.run((pool, arm, s)), results.run((pool, baseline, s))) for s in seeds)
    return [(run, base) for run, base in found if run is not None and base is not None]


def ratio_names(*costs: str) -> list[str]:
    """Names of the metrics tested against the baseline, on these costs or on all: "TTB50/steps", "BSF25/tokens" …"""
    kinds = [("TTB", share) for share in TTB] + [("BSF", share) for share in BSF]
    return [_ratio_name(kind, share, cost) for cost in costs or COSTS for kind, share in kinds]


def _ratio_name(kind: str, share: float, cost: str) -> str:
    return f"{kind}{round(share * 100)}/{cost}"


def _metrics(pairs: list[tuple[StudyRun, StudyRun]]) -> dict[str, Metric]:
    metrics = {}
    for cost in COSTS:
        curves = [both for run, base in pairs if (both := run.beside(base, cost))]
        for share in TTB:
            ratios = np.array([time_to_best(mine, base, share) for mine, base in curves])
            metrics[_ratio_name("TTB", share, cost)] = _metric(ratios, geometric=True)
        for share in BSF:
            ratios = np.array([best_so_far(mine, base, share) for mine, base in curves])
            metrics[_ratio_name("BSF", share, cost)] = replace(_metric(ratios), infinite="∞ in")
        whole = _ratio_name("TTB", 1.0, cost)
        metrics[whole] = _slower(metrics[whole], metrics[_ratio_name("BSF", 1.0, cost)])
    for name, values in (
        ("ETR", [run.etr.mean() for run, _ in pairs]),
        ("Brier", [np.nanmean(run.brier) for run, _ in pairs]),
        ("coverage", [run.coverage for run, _ in pairs if not math.isnan(run.coverage)]),
        ("best score", [run.against["steps"].scores.max() for run, _ in pairs]),
    ):
        metrics[name] = _mean(values)
    last = np.array([[each.against["steps"].scores[-1] for each in pair] for pair in pairs])
    metrics[LAST_SCORE] = replace(_mean(last[:, 0]), p=signed_rank_test(last[:, 0], last[:, 1]))
    for prefix, recorded in (
        (LAST, [run.last for run, _ in pairs]),
        (EVALUATION, [run.evaluation for run, _ in pairs]),
    ):
        for name in sorted({name for each in recorded for name in each}, key=natural):
            metrics[f"{prefix}{name}"] = _mean([each[name] for each in recorded if name in each])
    return metrics


def _mean(values: Sequence[float] | np.ndarray) -> Metric:
    return Metric(np.array(values), mean_interval(values) if len(values) else NOTHING)


def _slower(time: Metric, best: Metric) -> Metric:
    """A TTB100 above 1, some of it never reached, tested together with the best score within the same budget, BSF100.

    By itself the test would call a quarter of equal arms slower, or more: its target is the best of the baseline's
    noisy scores, which half of all equal runs never reach. So the best within the budget must be lower too, beyond
    chance.
    """
    if time.middle < 1 or not time.interval.never:
        return time
    return replace(time, p=max(time.p, best.p) if best.middle < 1 else 1.0)


def _metric(ratios: np.ndarray, geometric: bool = False) -> Metric:
    # Undefined if the baseline never improved (TTB) or both are at 0 (BSF): such pairs carry no information.
    ratios = ratios[~np.isnan(ratios)]
    if not len(ratios):
        return Metric(ratios, NOTHING, 1.0)
    with np.errstate(divide="ignore"):  # a run at 0 has log ratio -inf
        logs = np.log(ratios)
    p = signed_rank_test(logs, np.zeros(len(ratios)))
    if not geometric:
        return Metric(ratios, mean_interval(ratios), p)
    of_logs = mean_interval(logs)
    mean, low, high = (math.exp(value) for value in (of_logs.mean, of_logs.low, of_logs.high))
    return Metric(ratios, Interval(mean, low, high, of_logs.seeds, of_logs.never), p)
