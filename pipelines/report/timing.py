"""Where a run's time went: phases that add up to the wall-clock time."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.report.run import Run

PREFIX = "seconds/"
ORDER = ("select", "wait", "generate", "grade", "batch", "learn", "sync", "evaluate", "checkpoint", "write")
SLACK = 0.01
"""Relative excess of the phases over the steps' time above which the report notes it."""


def phases(run: Run) -> dict[str, Any] | None:
    """Seconds by phase, of the whole run and of intervals; None before the first step.

    `other` is time within steps outside any phase; `outside` is wall-clock time outside the steps (starting the actors,
    the first evaluation, shutdown). notes: discrepancies, in words.
    """
    if not run.steps:
        return None
    found = [key.removeprefix(PREFIX) for key in run.keys(PREFIX)]
    names = [name for name in ORDER if name in found] + [name for name in found if name not in ORDER]
    each = {name: np.array([r.get(PREFIX + name, 0.0) for r in run.steps]) for name in names}
    whole = np.array([r["seconds"] for r in run.steps])
    other = whole - sum(each.values())
    notes = []
    if other.sum() < -SLACK * whole.sum():
        notes.append(
            f"The phases add up to {whole.sum() - other.sum():,.1f} s, more than the steps' {whole.sum():,.1f} s: "
            "some ran concurrently, so the bar is longer than the time."
        )
    totals = {name: float(seconds.sum()) for name, seconds in each.items()}
    totals["other"] = max(0.0, float(other.sum()))
    wall = None if run.summary is None else run.summary.get("wall_seconds")
    if wall is not None and wall >= whole.sum():
        totals["outside"] = float(wall - whole.sum())
    elif wall is not None:
        notes.append(
            f"The summary's wall-clock time, {wall:,.1f} s, is less than the steps' {whole.sum():,.1f} s: the run was "
            "resumed, and its summary covers only the last part."
        )
        wall = None
    else:
        notes.append("The run has not written its summary, so the time outside its steps is unknown.")
    parts = np.array_split(np.arange(len(run.steps)), min(len(run.steps), 50))
    stretches = {name: [float(seconds[part].mean()) for part in parts] for name, seconds in each.items()}
    stretches["other"] = [max(0.0, float(other[part].mean())) for part in parts]
    return {
        "totals": totals,
        "wall": wall,
        "steps_seconds": float(whole.sum()),
        "at": [int(run.steps[part[-1]]["step"]) for part in parts],
        "stretches": stretches,
        "notes": notes,
    }
