"""Two runs side by side: the table that says when one reached what the other did, and the picture of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from rich.table import Table

from bots.metrics import Curve, time_to_best
from pipelines.shared.summary import read_metrics, training_seconds

COLOURS = {"bots": "#0b6e99", "random": "#c2571a"}


@dataclass(frozen=True)
class RunCurves:
    """One run's scores against each thing they cost, and its figures by step.

    against: learning curves over "steps", generated "tokens" and training "seconds". Seconds are those of the
    training steps alone: evaluation and checkpoints are not part of the method's price.
    etr: float64 (steps,). selection_share: of the training seconds, what was spent waiting for a selection.
    """

    name: str
    against: dict[str, Curve]
    etr: np.ndarray
    selection_share: float

    @classmethod
    def read(cls, name: str, folder: Path) -> RunCurves:
        """The curves of a finished run."""
        records = read_metrics(folder)
        training = [record for record in records if record["step"] > 0]
        spent = {
            "steps": np.arange(len(training) + 1, dtype=float),
            "tokens": np.cumsum([0.0, *(record["tokens"] for record in training)]),
            "seconds": np.cumsum([0.0, *(training_seconds(record) for record in training)]),
        }
        scored = [record for record in records if "score" in record]
        at = [record["step"] for record in scored]
        scores = np.array([record["score"] for record in scored])
        return cls(
            name=name,
            against={what: Curve(total[at], scores) for what, total in spent.items()},
            etr=np.array([record["etr"] for record in training]),
            selection_share=sum(r["select_wait_seconds"] for r in training) / spent["seconds"][-1],
        )

    @property
    def best(self) -> float:
        """The best score."""
        return float(self.against["steps"].scores.max())


def compare(run: RunCurves, baseline: RunCurves) -> dict[str, Any]:
    """Figures of a run against a baseline: what each had spent when it first reached the baseline's best score.

    A ratio is TTB(100%) (`bots.metrics.time_to_best`), below 1 where the run got there for less. None where
    it never got there, or where the baseline never rose above its first score. The other ratios are None where the
    baseline's figure is 0.
    """
    costs: dict[str, Any] = {"target_score": baseline.best}
    for what, curve in run.against.items():
        reference = baseline.against[what]
        costs[what] = {
            "run": _finite(curve.first_reaching(baseline.best)),
            "baseline": reference.first_reaching(baseline.best),
            "ratio": _finite(time_to_best(curve, reference)),
        }
    costs["best_score"] = _over(run.best, baseline.best)
    costs["mean_etr"] = _over(float(run.etr.mean()), float(baseline.etr.mean()))
    costs["selection_share"] = {"run": run.selection_share, "baseline": baseline.selection_share}
    return costs


def _over(ours: float, theirs: float) -> dict[str, float | None]:
    return {"run": ours, "baseline": theirs, "ratio": ours / theirs if theirs else None}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def table(costs: dict[str, Any], run: str, baseline: str) -> Table:
    """The comparison for the terminal."""
    target = f"target: {baseline}'s best score, {costs['target_score']:.3f}"
    out = Table(title=f"{run} against {baseline}; {target}", title_justify="left", min_width=72)
    out.add_column("")
    for name in (run, baseline, f"{run} / {baseline}"):
        out.add_column(name, justify="right")
    for what, label, form in (
        ("steps", "steps to the target", "{:.0f}"),
        ("tokens", "generated tokens to the target", "{:,.0f}"),
        ("seconds", "training seconds to the target", "{:.1f}"),
        ("best_score", "best score", "{:.3f}"),
        ("mean_etr", "mean effective task ratio", "{:.2f}"),
        ("selection_share", "share of step time spent waiting for selection", "{:.3%}"),
    ):
        ours, theirs = costs[what]["run"], costs[what]["baseline"]
        ratio = costs[what].get("ratio")
        undefined = "–" if "ratio" in costs[what] else ""
        out.add_row(
            label,
            "never" if ours is None else form.format(ours),
            form.format(theirs),
            undefined if ratio is None else f"{ratio:.2f}",
        )
    return out


def draw(curves: Sequence[RunCurves], path: Path, title: str) -> None:
    """Score against steps, tokens and seconds, and the effective task ratio; one PNG."""
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
        smooth = _running_mean(curve.etr, 10)
        axes[3].plot(np.arange(1, len(smooth) + 1), smooth, color=COLOURS.get(curve.name))
    axes[3].set(xlabel="step", ylabel="effective task ratio (mean of 10)", ylim=(0, 1))
    for axis in axes:
        _tidy(axis)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    sums = np.cumsum(values)
    counts = np.minimum(np.arange(1, len(values) + 1), width)
    return (sums - np.concatenate([np.zeros(width), sums[:-width]])[: len(values)]) / counts


def _tidy(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
    axis.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(_short_number))


def _short_number(value: float, _: object) -> str:
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"
