"""Verdicts of a comparison in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipelines.studies.comparison import COSTS, LEVEL, Comparison, Metric, ratio_names

BETTER, WORSE, OPEN = "Better in", "Worse in", "No difference shown in"
FEW = "Too few seeds for a verdict in"


def claims(comparison: Comparison, baseline: str) -> Iterator[str]:
    """One line per arm except the baseline: on which ratios it is significantly better, worse, or neither."""
    least = least_seeds(len(comparison.metrics) - 1)
    for arm, metrics in comparison.metrics.items():
        if arm == baseline:
            continue
        verdicts: dict[str, list[str]] = {BETTER: [], WORSE: [], OPEN: [], FEW: []}
        costs = [cost for cost in COSTS if comparison.compared_on(arm, cost)]
        names = ratio_names(*costs) if costs else []
        for name in names:
            enough = len(metrics[name].values) >= least
            verdicts[_verdict(name, metrics[name]) if enough else FEW].append(name)
        if len(verdicts[FEW]) == len(names):
            yield f"{arm}, {comparison.seeds[arm]} of the {least} seeds that a verdict takes."
            continue
        found = [f"{verdict} {_listed(given)}." for verdict, given in verdicts.items() if given]
        if absent := [cost for cost in COSTS if cost not in costs]:
            found.append(f"Not to be compared on {' and '.join(absent)}.")
        yield f"{arm}, {comparison.seeds[arm]} seeds. {' '.join(found)}"


def least_seeds(arms: int) -> int:
    """Least number of seeds S for a significant result if all signs agree: 2·arms / 2^S < 5 %."""
    seeds = 1
    while 2 * arms / 2**seeds >= LEVEL:
        seeds += 1
    return seeds


def is_better(name: str, metric: Metric) -> bool:
    """Whether a ratio to the baseline, such as "TTB50/steps", is significantly to the arm's advantage."""
    less_is_better = name.startswith("TTB")
    return metric.holds and (metric.middle < 1) == less_is_better


def _verdict(name: str, metric: Metric) -> str:
    if not metric.holds:
        return OPEN
    return BETTER if is_better(name, metric) else WORSE


def _listed(names: Iterable[str]) -> str:
    """ "TTB50/steps", "TTB75/steps" … → "TTB50, TTB75 on steps"; without costs if it holds for all of them."""
    by_metric: dict[str, list[str]] = {}
    for name in names:
        metric, cost = name.split("/")
        by_metric.setdefault(metric, []).append(cost)
    by_costs: dict[tuple[str, ...], list[str]] = {}
    for metric, costs in by_metric.items():
        by_costs.setdefault(tuple(costs), []).append(metric)
    everything = len(ratio_names(COSTS[0]))
    return "; ".join(
        ("all" if len(metrics) == everything else ", ".join(metrics))
        + (f" on {' and '.join(costs)}" if len(costs) < len(COSTS) else "")
        for costs, metrics in by_costs.items()
    )
