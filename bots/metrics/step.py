"""Metrics of one observed batch against the beliefs before it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.support.observation import Observation


def step_metrics(observation: Observation, predicted: npt.NDArray[np.float64]) -> dict[str, float]:
    """ETR, mean observed and predicted pass rate, and the Brier score of the one-step-ahead prediction.

    predicted: float64 (B,), posterior means before the batch. ETR: arXiv 2510.26374, the effective task ratio.
    """
    observed = observation.pass_rates
    return {
        "batch/tasks": float(len(observed)),
        "batch/etr": float(np.mean(observation.variance > 0)),
        "batch/mean": float(observed.mean()),
        "batch/predicted_mean": float(predicted.mean()),
        "batch/brier": float(np.mean((observed - predicted) ** 2)),
    }
