"""Plot of a simulation: learning curves, effective task ratio and calibration, by arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bots.metrics import running_mean
from bots.simulation import Trace
from pipelines.shared.picture import save

FEW = 6
"""No bands for more arms than this: they would hide each other."""
OWN = {"random": "#c2571a", "bots": "#0b6e99"}


def colours(arms: Sequence[str]) -> dict[str, str | tuple[float, ...]]:
    """A color for each arm: the demo's for `random` and `bots`, a color scale for the others."""
    others = [arm for arm in arms if arm not in OWN]
    scale = colormaps["viridis"](np.linspace(0, 0.92, max(len(others), 1)))
    return {**OWN, **{arm: tuple(scale[i]) for i, arm in enumerate(others)}}


def draw(traces: Mapping[str, Sequence[Trace]], path: Path, title: str) -> None:
    """Write one PNG with three panels; lines are means over seeds, bands 95 % intervals of the mean."""
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    curve, ratio, reliability = figure.subplots(1, 3)
    colour = colours(list(traces))
    few = len(traces) <= FEW
    for arm, runs in traces.items():
        scores = np.array([run.curve.scores for run in runs])
        _band(curve, runs[0].curve.at, scores, colour[arm], arm, few)
        smooth = np.array([running_mean(run.etr, 20) for run in runs])
        _band(ratio, np.arange(1, smooth.shape[1] + 1), smooth, colour[arm], arm, few)
        predicted, observed = (
            np.concatenate([getattr(r, k).ravel() for r in runs]) for k in ("predicted", "observed")
        )
        reliability.plot(*_reliability(predicted, observed), marker="o", ms=3, color=colour[arm])
    curve.set(xlabel="step", ylabel="held-out score", title="learning curve")
    ratio.set(xlabel="step", ylabel="effective task ratio (mean of 20)", ylim=(0, 1), title="effective tasks")
    reliability.plot([0, 1], [0, 1], color="grey", lw=0.8, ls=":")
    reliability.set(
        xlabel="predicted pass rate", ylabel="observed pass rate", title="beliefs of the selected tasks"
    )
    for axis in (curve, ratio, reliability):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    handles, labels = curve.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside right center")
    figure.suptitle(title)
    save(figure, path, 110)


def _band(
    axis: Axes, x: npt.NDArray[Any], values: npt.NDArray[np.float64], colour: Any, label: str, band: bool
) -> None:
    mean = values.mean(axis=0)
    axis.plot(x, mean, color=colour, lw=1.6, label=label)
    if band and len(values) > 1:
        half = 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
        axis.fill_between(x, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)


def _reliability(
    predicted: npt.NDArray[np.float64], observed: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean predicted and observed pass rate in ten equal bins of the prediction, without bins of under 20."""
    place = np.minimum((predicted * 10).astype(np.int64), 9)
    count = np.bincount(place, minlength=10)
    full = count >= 20
    means = [np.bincount(place, values, 10)[full] / count[full] for values in (predicted, observed)]
    return means[0], means[1]
