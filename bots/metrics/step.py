"""Figures of one observed batch against what was believed before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.belief.rewards import Groups


def step_metrics(groups: Groups, predicted: npt.NDArray[np.float64]) -> dict[str, float]:
    """etr, mean observed and predicted pass rate, and the Brier score of the one-step-ahead prediction.

    predicted: float64 (B,), posterior means before the batch. ALGORITHM section 7.
    """
    observed = groups.successes / groups.rollouts
    return {
        "batch/tasks": float(len(observed)),
        "batch/etr": float(np.mean(groups.variance > 0)),
        "batch/mean": float(observed.mean()),
        "batch/predicted_mean": float(predicted.mean()),
        "batch/brier": float(np.mean((observed - predicted) ** 2)),
    }
