"""A run's metrics by step, as the page plots them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.report.run import Run

POINTS = 400
METRICS = (
    "etr",
    "reward",
    "tokens",
    "completion_tokens",
    "finished_share",
    "entropy",
    "evaluation_entropy",
    "evaluation_completion_tokens",
    "evaluation_finished_share",
    "staleness",
    "staleness_mean",
    "engine_busy_share",
    "loss",
    "grad_norm",
    "lr",
    "mismatch_kl",
    "truncated_share",
    "dropped_groups",
    "posterior/lam",
    "posterior/rho",
    "posterior/p_star",
    "posterior/batch/brier",
)


def step_metrics(run: Run) -> dict[str, dict[str, Any]]:
    """Series by name, without step 0; long ones as means over POINTS intervals."""
    out = {}
    of_parts = ("coverage", "posterior/evidence/capability", "posterior/adaptor/", "posterior/belief/")
    for key in (*METRICS, *(key for prefix in of_parts for key in run.keys(prefix))):
        steps, values = run.series(key)
        keep = (steps > 0) & np.isfinite(values)
        steps, values = steps[keep], values[keep]
        if len(steps):
            parts = np.array_split(np.arange(len(steps)), min(len(steps), POINTS))
            out[key] = {
                "x": [float(steps[part[-1]]) for part in parts],
                "y": [float(values[part].mean()) for part in parts],
            }
    return out
