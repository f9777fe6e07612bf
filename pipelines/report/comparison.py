"""Comparison of two runs: what each spent until it reached the baseline's best score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from bots.metrics import Curve, time_to_best
from pipelines.shared.summary import read_metrics, training_seconds


@dataclass(frozen=True)
class RunCurves:
    """A run's learning curves against each cost, and its metrics by step.

    against: learning curves over "steps", generated "tokens" and training "seconds". Seconds exclude evaluation and
    checkpoints, which are not part of the method's cost.
    etr: float64 (steps,). selection_share: share of the training seconds spent waiting for a selection.
    """

    name: str
    against: dict[str, Curve]
    etr: npt.NDArray[np.float64]
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
    """Metrics of a run against a baseline: what each had spent when it first reached the baseline's best score.

    A ratio is TTB(100%) (`bots.metrics.time_to_best`); below 1 the run spent less. None if the run never reached that
    score, or the baseline never rose above its first one. The other ratios are None if the baseline's value is 0.
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
