"""What a comparison shows and what it does not, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from pipelines.studies.figures import COSTS, Comparison, Figure, ratio_names

BETTER, WORSE, OPEN = "better in", "worse in", "no difference shown in"
LEAST_SEEDS = 6
"""With fewer pairs not even equal signs throughout are beyond chance: 2 / 2^5 > 5 %."""


def claims(comparison: Comparison, baseline: str) -> Iterator[str]:
    """A line for each arm but the baseline: the ratios in which it is better or worse beyond chance, or neither."""
    for arm, figures in comparison.figures.items():
        if arm == baseline:
            continue
        if comparison.seeds[arm] < LEAST_SEEDS:
            yield f"{arm}: {comparison.seeds[arm]} of at least {LEAST_SEEDS} seeds that a verdict takes."
            continue
        verdicts: dict[str, list[str]] = {BETTER: [], WORSE: [], OPEN: []}
        for name in ratio_names():
            if len(figures[name].values):
                verdicts[_verdict(name, figures[name])].append(name)
        found = (f"{verdict} {_listed(names)}" for verdict, names in verdicts.items() if names)
        yield f"{arm}, {comparison.seeds[arm]} seeds: {'; '.join(found)}."


def _verdict(name: str, figure: Figure) -> str:
    if not figure.holds:
        return OPEN
    # Some runs never got there: their time is infinite, and so is the mean.
    ratio = figure.interval.mean if not figure.interval.never else float(np.median(figure.values))
    less_is_better = name.startswith("TTB")
    return BETTER if (ratio < 1) == less_is_better else WORSE


def _listed(names: Iterable[str]) -> str:
    """ "TTB50/steps", "TTB50/tokens" … → "TTB50 (steps, tokens)"; without costs where it is all of them."""
    by_figure: dict[str, list[str]] = {}
    for name in names:
        figure, cost = name.split("/")
        by_figure.setdefault(figure, []).append(cost)
    return ", ".join(
        figure if len(costs) == len(COSTS) else f"{figure} ({', '.join(costs)})"
        for figure, costs in by_figure.items()
    )
