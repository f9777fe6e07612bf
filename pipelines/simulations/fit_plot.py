"""Plot of a fit: each real run beside the fitted simulator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from bots.metrics import running_mean
from bots.simulation import Trace
from pipelines.shared.picture import save
from pipelines.simulations.fit_errors import WIDTH, batch_metrics, fit_errors
from pipelines.simulations.runs import RealRun

REAL, SIMULATED = "#222222", "#0b6e99"


def draw_fit(runs: Sequence[RealRun], traces: Sequence[Sequence[Trace]], fitted: int, path: Path) -> None:
    """Write the PNG: a row per run, with score, ETR and batch reward. fitted: the first so many runs were fitted."""
    figure = Figure(figsize=(13, 3.6 * len(runs)), layout="constrained")
    axes = figure.subplots(len(runs), 3, squeeze=False, sharey="col")
    for row, (run, simulated) in enumerate(zip(runs, traces, strict=True)):
        errors = fit_errors(run, simulated)
        use = "fitted" if row < fitted else "predicted"
        score, etr, reward = axes[row]
        if run.score is not None:
            curves = np.array([t.curve.scores for t in simulated])
            _band(score, simulated[0].curve.at, curves)
            score.plot(run.score.at, run.score.scores, color=REAL, marker="o", ms=3, lw=1, label="real run")
            score.set_title(f"{run.name} ({use}): score, RMSE {errors['score_rmse']:.3f}")
        score.set(ylabel="held-out score")
        for axis, real, made, name in (
            (etr, run.etr, batch_metrics(simulated)[0], "etr"),
            (reward, run.reward, batch_metrics(simulated)[1], "reward"),
        ):
            steps = np.arange(1, len(real) + 1)
            _band(axis, steps, np.array([running_mean(x, WIDTH) for x in made]))
            axis.plot(steps, running_mean(real, WIDTH), color=REAL, lw=1.4, label="real run")
            axis.set(ylim=(0, 1), ylabel={"etr": "effective task ratio", "reward": "batch reward"}[name])
            axis.set_title(f"mean of {WIDTH} steps, RMSE {errors[f'{name}_rmse']:.3f}")
        for axis in axes[row]:
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(alpha=0.25)
    for axis in axes[-1]:
        axis.set_xlabel("step")
    axes[0, 0].legend(frameon=False, loc="upper left")
    save(figure, path, 110)


def _band(axis: Any, x: npt.NDArray[Any], values: npt.NDArray[np.float64]) -> None:
    axis.plot(x, values.mean(axis=0), color=SIMULATED, lw=1.6, label=f"simulated, {len(values)} seeds")
    axis.fill_between(x, values.min(axis=0), values.max(axis=0), color=SIMULATED, alpha=0.18, linewidth=0)
