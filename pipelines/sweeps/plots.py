"""Plots of a sweep: parallel coordinates, learning curves, and a heat map if it varies λ and ρ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pipelines.shared.picture import save
from pipelines.sweeps.heatmap_plot import LAM, MAP, MARKED, RHO, draw_heatmap
from pipelines.sweeps.results import SYMBOLS, SweepResults, Trial


def draw(results: SweepResults, folder: Path) -> list[Path]:
    """Write the PNGs for which there is data; returns their paths."""
    known = [t for t in results.trials if np.isfinite(results.value(t))]
    if not known:
        return []
    paths = [folder / "parallel.png", folder / "curves.png"]
    draw_parallel(results, known, paths[0])
    draw_curves(results, known, paths[1])
    if {LAM, RHO} <= set(results.sweep.config.space):
        paths.insert(0, folder / "heatmap.png")
        draw_heatmap(results, known, paths[0])
    return paths


def draw_parallel(results: SweepResults, trials: list[Trial], path: Path) -> None:
    """One line per trial through its values to its metric, the best on top; dotted if it was stopped."""
    keys = list(results.sweep.config.space)
    figure = Figure(figsize=(2.2 + 1.7 * (len(keys) + 1), 4.6), layout="constrained")
    axis = figure.subplots()
    columns = [[_number(t.point[key], [o.point[key] for o in trials]) for t in trials] for key in keys]
    columns.append([results.value(t) for t in trials])
    names = [SYMBOLS.get(key, key.rpartition(".")[2]) for key in keys] + [results.metric]
    scaled, ticks = [], []
    for column in columns:
        low, high = min(column), max(column)
        span = (high - low) or 1.0
        scaled.append([(value - low) / span if high > low else 0.5 for value in column])
        ticks.append((low, high))
    norm = Normalize(*ticks[-1])
    order = np.argsort(columns[-1])
    for i in order if not results.sweep.minimised else order[::-1]:
        colour = colormaps[MAP](norm(columns[-1][i]))
        style = "-" if trials[i].status == "finished" else ":"
        places = [column[i] for column in scaled]
        axis.plot(range(len(columns)), places, color=colour, ls=style, alpha=0.75, lw=1.3)
    for x, (key, (low, high)) in enumerate(zip([*keys, None], ticks, strict=True)):
        axis.axvline(x, color="black", lw=0.8)
        labels = _end_labels(key, trials, low, high)
        axis.text(x, -0.04, labels[0], ha="center", va="top", fontsize=8)
        axis.text(x, 1.03, labels[1], ha="center", va="bottom", fontsize=8)
    axis.set_xticks(range(len(columns)), names)
    axis.tick_params(axis="x", length=0, pad=16)
    axis.set(yticks=[], ylim=(-0.02, 1.02), xlim=(-0.15, len(columns) - 0.85))
    axis.spines[:].set_visible(False)
    figure.suptitle(f"{results.sweep.config.sweep.name}: {len(trials)} trials", fontsize=10)
    figure.colorbar(ScalarMappable(norm, MAP), ax=axis, label=results.metric)
    save(figure, path, 110)


def _number(value: Any, all_values: list[Any]) -> float:
    """Position on the axis: the number itself, or a name's index in the sorted names."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return float(sorted({str(v) for v in all_values}).index(str(value)))


def _end_labels(key: str | None, trials: list[Trial], low: float, high: float) -> tuple[str, str]:
    if key is not None and not all(isinstance(t.point[key], int | float) for t in trials):
        names = sorted({str(t.point[key]) for t in trials})
        return names[0], names[-1]
    return f"{low:.3g}", f"{high:.3g}"


def draw_curves(results: SweepResults, trials: list[Trial], path: Path) -> None:
    """Held-out score by step, colored by the metric; stopped trials end early and are dotted.

    Stopped simulations are left out: they average over fewer seeds, which have different tasks.
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axis = figure.subplots()
    values = [results.value(t) for t in trials]
    norm = Normalize(min(values), max(values))
    base = results.at_base()
    if results.sweep.config.target == "simulate":
        trials = [t for t in trials if t.status == "finished"]
    for t in sorted(trials, key=results.value, reverse=results.sweep.minimised):
        style = "-" if t.status == "finished" else ":"
        colour = colormaps[MAP](norm(results.value(t)))
        axis.plot(t.curve["step"], t.curve["score"], color=colour, ls=style, lw=1.2, alpha=0.8)
    if base is not None:
        axis.plot(base.curve["step"], base.curve["score"], color=MARKED, lw=2, label="the base's values")
        axis.legend(frameon=False, loc="upper left")
    axis.set(xlabel="step", ylabel="held-out score")
    axis.set_title(f"{results.sweep.config.sweep.name}: {len(trials)} trials", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    figure.colorbar(ScalarMappable(norm, MAP), ax=axis, label=results.metric)
    save(figure, path, 110)
