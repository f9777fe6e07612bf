"""How far the fitted simulator is from the real runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bots.metrics import running_mean
from bots.simulation import Trace
from pipelines.simulations.runs import RealRun

Floats = npt.NDArray[np.float64]
WIDTH = 10
"""Steps of the running means that are compared."""


def fit_errors(run: RealRun, traces: Sequence[Trace]) -> dict[str, float | None]:
    """Root-mean-square errors of the simulated means: held-out score; running means of ETR and batch reward."""
    etr, reward = (np.mean([running_mean(x, WIDTH) for x in xs], axis=0) for xs in batch_metrics(traces))
    score = None if run.score is None else _rms(_at(traces, run.score.at).mean(axis=0) - run.score.scores)
    return {
        "score_rmse": score,
        "score_range": None if run.score is None else float(np.ptp(run.score.scores)),
        "etr_rmse": _rms(etr - running_mean(run.etr, WIDTH)),
        "reward_rmse": _rms(reward - running_mean(run.reward, WIDTH)),
    }


def batch_metrics(traces: Sequence[Trace]) -> tuple[list[Floats], list[Floats]]:
    """ETR and mean reward of every simulated batch, by trace: float64 (steps,) each."""
    return [t.etr for t in traces], [t.observed.mean(axis=1) for t in traces]


def _at(traces: Sequence[Trace], steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([np.interp(steps, t.curve.at, t.curve.scores) for t in traces])


def _rms(values: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
