"""Forest plot of a study: every arm's time to the baseline's best score, by pool and cost."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pipelines.shared.picture import save
from pipelines.studies.comparison import COSTS, UNITS, Comparison, Metric
from pipelines.studies.markdown import of_seeds

Colour = tuple[float, float, float, float]
TICKS = (0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10)
GAP = 0.22
"""Distance between the marks of one arm, in rows."""
EDGE = 1.25
"""Factor by which the axis extends beyond the outermost interval."""


def draw_forest(
    shown: dict[str, Comparison], groups: dict[str, list[str]], baseline: str, path: Path
) -> None:
    """Write the PNG: one panel per pool, row per arm, mark per cost: TTB100 with its 95 % interval on a log axis.

    A mark is filled if the difference from the baseline is significant, and at the right edge if at least half of the
    arm's runs never reached the baseline's best score. A mark with fewer seeds than its panel states how many.
    groups: the arms to show, by heading; "" for none.
    """
    labels: list[str] = []
    rows: dict[str, int] = {}
    headings: list[int] = []
    for title, arms in groups.items():
        if title:
            headings.append(len(labels))
            labels.append(title)
        for arm in arms:
            rows[arm] = len(labels)
            labels.append(arm)
    figure, panels = plt.subplots(
        1,
        len(shown),
        figsize=(4 + 3.3 * len(shown), 1.6 + 0.4 * len(labels)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    low, high = _bounds(shown)
    for axis, comparison in zip(panels[0], shown.values(), strict=True):
        _draw_panel(axis, comparison, rows, low, high)
    panels[0][0].set(yticks=range(len(labels)), yticklabels=labels, ylim=(len(labels) - 0.5, -0.5))
    for row in headings:
        panels[0][0].get_yticklabels()[row].set_fontweight("bold")
        for axis in panels[0]:
            axis.axhspan(row - 0.5, row + 0.5, color="0.93", lw=0)
    handles = [
        Line2D([], [], color=_colour(number), marker="o", label=f"on {UNITS[cost]}")
        for number, cost in enumerate(COSTS)
        if any(comparison.has_rivals_on(cost, baseline) for comparison in shown.values())
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(COSTS), frameon=False)
    figure.suptitle(f"Time to {baseline}'s best held-out score, over {baseline}'s; left of 1 is faster")
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path, 90)
    plt.close(figure)


def _draw_panel(axis: Axes, comparison: Comparison, rows: dict[str, int], low: float, high: float) -> None:
    seeds = comparison.most_seeds(list(rows))
    axis.set(title=f"{comparison.pool}, {of_seeds(seeds)}", xscale="log", xlim=(low, high))
    axis.axvline(1, color="0.4", lw=1)
    for arm, row in rows.items():
        for number, cost in enumerate(COSTS):
            ratio = comparison.metrics.get(arm, {}).get(f"TTB100/{cost}")
            if ratio and len(ratio.values):
                _mark(axis, ratio, row + GAP * (number - 1), _colour(number), high, seeds)
    axis.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if low <= tick <= high]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", alpha=0.25)


def _bounds(shown: dict[str, Comparison]) -> tuple[float, float]:
    """Bounds of the axis: they include 1 and all finite intervals and medians."""
    drawn = [1.0]
    for comparison in shown.values():
        for metrics in comparison.metrics.values():
            for cost in COSTS:
                ratio = metrics[f"TTB100/{cost}"]
                if len(ratio.values):
                    drawn += [*(ratio.bounds or ()), ratio.middle]
    finite = [value for value in drawn if np.isfinite(value)]
    return min(finite) / EDGE, max(finite) * EDGE


def _mark(axis: Axes, ratio: Metric, y: float, colour: Colour, edge: float, panel_seeds: int) -> None:
    interval, middle = ratio.interval, ratio.middle
    reached = np.isfinite(middle)
    x = middle if reached else edge
    face = colour if ratio.holds else "white"
    axis.plot(x, y, "o" if reached else ">", color=colour, mfc=face, ms=5, zorder=3, clip_on=False)
    if ratio.bounds:
        axis.plot(ratio.bounds, [y, y], color=colour, lw=1.3)
    said = [f"never {interval.never}"] if interval.never else []
    if (seeds := len(ratio.values)) < panel_seeds:
        said.append(of_seeds(seeds))
    if said:
        axis.annotate(
            ", ".join(said),
            (max(x, *(ratio.bounds or (x,))), y),
            (7, 0) if reached else (-7, 0),
            textcoords="offset points",
            ha="left" if reached else "right",
            va="center",
            fontsize=7.5,
            color=colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )


def _colour(number: int) -> Colour:
    red, green, blue, alpha = matplotlib.colormaps["tab10"](number)
    return red, green, blue, alpha
