"""Plot of a comparison: learning curves against each cost, and the effective task ratio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bots.metrics import running_mean
from pipelines.report.comparison import RunCurves
from pipelines.shared.picture import save

COLOURS = {"bots": "#0b6e99", "random": "#c2571a"}


def draw(curves: Sequence[RunCurves], path: Path, title: str) -> None:
    """Write one PNG: score against steps, tokens and seconds, and the effective task ratio."""
    figure, axes = plt.subplots(1, 4, figsize=(16, 4.2), layout="constrained")
    for axis, what, label in zip(
        axes, ("steps", "tokens", "seconds"), ("step", "generated tokens", "training seconds"), strict=False
    ):
        for curve in curves:
            colour = COLOURS.get(curve.name)
            scores = curve.against[what]
            axis.plot(scores.at, scores.scores, color=colour, marker="o", ms=3, label=curve.name)
        axis.axhline(curves[-1].best, color=COLOURS.get(curves[-1].name), lw=0.8, ls=":")
        axis.set(xlabel=label)
    axes[0].set(ylabel="held-out score")
    axes[0].legend(frameon=False, loc="upper left")
    for curve in curves:
        smooth = running_mean(curve.etr, 10)
        axes[3].plot(np.arange(1, len(smooth) + 1), smooth, color=COLOURS.get(curve.name))
    axes[3].set(xlabel="step", ylabel="effective task ratio (mean of 10)", ylim=(0, 1))
    for axis in axes:
        _tidy(axis)
    figure.suptitle(title)
    save(figure, path, 110)
    plt.close(figure)


def _tidy(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.xaxis.set_major_formatter(FuncFormatter(_short_number))


def _short_number(value: float, _: object) -> str:
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"
