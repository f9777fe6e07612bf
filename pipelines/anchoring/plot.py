"""Plot of an anchors job: both pass-rate distributions and their correlation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from bots.support.natural_order import natural
from pipelines.shared.picture import save

BINS = 17
WEAK, STRONG = "#c8553d", "#2a6f97"


def draw(
    weak: npt.NDArray[np.float32], strong: npt.NDArray[np.float32], domains: Sequence[str], path: Path
) -> dict[str, float | None]:
    """Write the PNG; returns the correlation and rank correlation of the pass rates (None if one is constant).

    weak, strong: float32 (tasks,), in [0, 1], without nulls. domains: one per task.
    """
    pearson, spearman = correlation(weak, strong), correlation(_ranks(weak), _ranks(strong))
    names = sorted(set(domains), key=natural)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    edges = np.linspace(0, 1, BINS + 1)
    left.hist(weak, edges, color=WEAK, alpha=0.6, label=f"weak, mean {weak.mean():.2f}")
    left.hist(strong, edges, color=STRONG, alpha=0.6, label=f"strong, mean {strong.mean():.2f}")
    left.set(xlabel="pass rate", ylabel="tasks", title=f"{len(weak):,} tasks", xlim=(0, 1))
    left.legend(frameon=False)
    # A little fixed noise, so that tasks with the same pair of rates do not hide each other.
    shift = np.random.default_rng(0).uniform(-0.02, 0.02, (2, len(weak)))
    for number, name in enumerate(names):
        of_domain = np.array([domain == name for domain in domains])
        right.scatter(
            weak[of_domain] + shift[0, of_domain],
            strong[of_domain] + shift[1, of_domain],
            s=4,
            alpha=0.35,
            color=f"C{number}",
            label=name,
            linewidths=0,
        )
    right.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    right.set(xlabel="weak pass rate", ylabel="strong pass rate", aspect="equal")
    right.set_title(f"correlation {_said(pearson)}, of ranks {_said(spearman)}")
    legend = right.legend(frameon=False, markerscale=4, loc="lower right")
    for handle in legend.legend_handles:
        handle.set_alpha(1.0)
    save(figure, path, 130)
    return {"correlation": pearson, "rank_correlation": spearman}


def correlation(x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> float | None:
    """Pearson's correlation; None if one of them is constant."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Ranks; equal values share their mean rank (Spearman's convention)."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[group]
    return ranks


def _said(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"
