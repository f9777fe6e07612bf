"""Heat map of a sweep over λ × ρ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipelines.shared.picture import save
from pipelines.sweeps.results import SweepResults, Trial

LAM, RHO = "selection.lam", "selection.rho"
MARKED = "#c2571a"
MAP = "viridis"


@dataclass(frozen=True)
class HeatmapCells:
    """A sweep's trials by λ (rows) and ρ (columns), both ascending.

    ended: float64 (L, R), the metric's mean over the finished trials; nan if there is none.
    stopped: float64 (L, R), the mean over the trials stopped early, in cells without a finished one; else nan. It was
        measured earlier than the others and is not comparable with them.
    last: float64 (L, R), the last `step` of the stopped trials.
    """

    lam: list[float]
    rho: list[float]
    ended: np.ndarray
    stopped: np.ndarray
    last: np.ndarray


def heat_cells(results: SweepResults, trials: list[Trial]) -> HeatmapCells:
    """Assign trials to the cells of λ × ρ, averaging over all other keys."""
    lam, rho = (sorted({t.point[key] for t in trials}) for key in (LAM, RHO))
    ended, stopped, last = (np.full((len(lam), len(rho)), np.nan) for _ in range(3))
    for i, x in enumerate(lam):
        for j, y in enumerate(rho):
            found = [t for t in trials if t.point[LAM] == x and t.point[RHO] == y]
            whole = [results.value(t) for t in found if t.status == "finished"]
            if whole:
                ended[i, j] = np.mean(whole)
            elif found:
                stopped[i, j] = np.mean([results.value(t) for t in found])
                last[i, j] = max(t.metrics["step"] for t in found)
    return HeatmapCells(lam, rho, ended, stopped, last)


def draw_heatmap(results: SweepResults, trials: list[Trial], path: Path) -> None:
    """Plot the metric over λ and ρ: cells if both have listed values, else points.

    A cell whose trials were all stopped early is grey.
    """
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axis = figure.subplots()
    space = results.sweep.config.space
    draw = _draw_cells if space[LAM].values and space[RHO].values else _draw_points
    image = draw(results, trials, axis)
    axis.set(xlabel="ρ, share of implicit evidence", ylabel="λ, forgetting")
    axis.set_title(f"{results.metric}, {results.sweep.config.sweep.name}", loc="left", fontsize=10)
    figure.colorbar(image, ax=axis, label=results.metric)
    save(figure, path, 110)


def _draw_cells(results: SweepResults, trials: list[Trial], axis: Axes) -> ScalarMappable:
    cells = heat_cells(results, trials)
    axis.set_facecolor("#d9d9d9")
    image = axis.imshow(cells.ended, cmap=MAP, origin="lower", aspect="auto")
    known = cells.ended[np.isfinite(cells.ended)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    decimals = int(np.clip(2 - np.floor(np.log10(high - low)), 0, 6)) if high > low else 3
    unit = "step" if results.sweep.config.target == "train" else "seed"
    for (i, j), value in np.ndenumerate(np.where(np.isfinite(cells.ended), cells.ended, cells.stopped)):
        if np.isfinite(value):
            said = f"{round(value, decimals) + 0.0:.{decimals}f}"  # no minus sign before zero
            ink = "white" if cells.ended[i, j] < (low + high) / 2 else "black"
            if np.isfinite(cells.stopped[i, j]):
                said += f"\nstopped after\n{unit} {cells.last[i, j]:.0f}"
            axis.text(j, i, said, ha="center", va="center", color=ink, fontsize=9)
    axis.set_xticks(range(len(cells.rho)), [f"{y:g}" for y in cells.rho])
    axis.set_yticks(range(len(cells.lam)), [f"{x:g}" for x in cells.lam])
    base = results.sweep.base_point()
    if base and base[LAM] in cells.lam and base[RHO] in cells.rho:
        corner = cells.rho.index(base[RHO]) - 0.5, cells.lam.index(base[LAM]) - 0.5
        axis.add_patch(Rectangle(corner, 1, 1, fill=False, ec=MARKED, lw=2.5, clip_on=False, zorder=5))
        axis.set_title("framed: the base's values", fontsize=9, loc="right", color=MARKED)
    return image


def _draw_points(results: SweepResults, trials: list[Trial], axis: Axes) -> ScalarMappable:
    values = [results.value(t) for t in trials]
    rho, lam = ([t.point[key] for t in trials] for key in (RHO, LAM))
    image = axis.scatter(rho, lam, c=values, cmap=MAP, s=46, edgecolor="white", lw=0.5)
    if best := results.ranked():
        place = best[0].point[RHO], best[0].point[LAM]
        axis.scatter(*place, marker="o", s=150, fc="none", ec=MARKED, lw=1.8)
        axis.set_title("circled: the best", fontsize=9, loc="right", color=MARKED)
    axis.grid(alpha=0.25)
    return image
