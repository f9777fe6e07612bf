"""Plot of a study's part: learning curves and effective task ratio on one pool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from bots.metrics import mean_interval, running_mean
from pipelines.shared.picture import save
from pipelines.studies.comparison import COSTS, FEWEST, UNITS, Comparison, paired
from pipelines.studies.config import Part
from pipelines.studies.results import StudyResults


@dataclass(frozen=True)
class End:
    """The end of an arm's mean curve."""

    at: float
    score: float
    colour: Any


def draw_part(results: StudyResults, comparison: Comparison, part: Part, baseline: str, path: Path) -> None:
    """Write the PNG: mean score over seeds against each cost with anything to compare, and ETR; bands: 95 % intervals.

    Seconds are relative to the baseline's in the same place, because machines differ in speed. The axis ends at twice
    the baseline's budget, so that one costly arm does not squeeze the others; what it leaves out is said at its end.
    """
    # A baseline without another arm shows nothing.
    shown = [cost for cost in COSTS if comparison.has_rivals_on(cost, baseline)]
    panels = len(shown) + 1
    figure, grid = plt.subplots(1, panels, figsize=(4.25 * panels, 4.4), layout="constrained", squeeze=False)
    *axes, last = grid[0]
    budgets: dict[str, float] = {}
    ends: dict[str, list[End]] = {cost: [] for cost in shown}
    for number, arm in enumerate(comparison.seeds):
        pairs = paired(results, comparison.pool, arm, baseline, part.all_seeds)
        colour = matplotlib.colormaps["tab10"](number % 10)
        for axis, cost in zip(axes, shown, strict=True):
            by_share = cost == "seconds"
            axis.set(xlabel=f"{UNITS[cost]} (1 = {baseline}'s)" if by_share else UNITS[cost])
            if curves := [both for run, base in pairs if (both := run.beside(base, cost))]:
                at = np.mean([mine.at / (base.at[-1] if by_share else 1) for mine, base in curves], axis=0)
                scores = np.stack([mine.scores for mine, _ in curves])
                _band(axis, at, scores, colour, arm)
                ends[cost].append(End(float(at[-1]), float(scores[:, -1].mean()), colour))
                if arm == baseline:
                    budgets[cost] = at[-1]
        etr = np.stack([running_mean(run.etr, 10) for run, _ in pairs])
        _band(last, np.arange(1, etr.shape[1] + 1), etr, colour, arm)
    for axis, cost in zip(axes, shown, strict=True):
        if cost in budgets:
            axis.set_xlim(right=min(axis.get_xlim()[1], 2 * budgets[cost]))
            _tell_ends(axis, ends[cost])
        axis.xaxis.set_major_locator(MaxNLocator(6))
        if cost != "seconds":
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axis in axes[:1]:
        axis.set(ylabel="held-out score")
    last.set(xlabel="steps", ylabel="effective task ratio (mean of 10)", ylim=(0, 1))
    figure.axes[0].legend(frameon=False, fontsize=8)
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.suptitle(f"{part.name}, {comparison.pool} tasks; bands are 95 % intervals over seeds")
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path, 90)
    plt.close(figure)


def _tell_ends(axis: Axes, ends: list[End]) -> None:
    """At the end of the axis, where each curve that goes on beyond it ends."""
    right = axis.get_xlim()[1]
    low, high = axis.get_ylim()
    beyond = sorted((end for end in ends if end.at > right), key=lambda end: end.score)
    y = -np.inf
    for end in beyond:
        y = max(end.score, y + 0.045 * (high - low))
        axis.annotate(
            f"ends at {end.score:.3f} ▸",
            (right, y),
            (-2, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=7.5,
            color=end.colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
        )


def _band(
    axis: Axes, at: npt.NDArray[np.float64], values: npt.NDArray[np.float64], colour: Any, name: str
) -> None:
    intervals = [mean_interval(column) for column in values.T]
    axis.plot(at, [i.mean for i in intervals], color=colour, label=f"{name} ({len(values)})", lw=1.6)
    if len(values) >= FEWEST:
        axis.fill_between(
            at, [i.low for i in intervals], [i.high for i in intervals], color=colour, alpha=0.15, lw=0
        )
