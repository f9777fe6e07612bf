"""`bots simulate --fit RUN …`: estimate the simulator from real runs, and show how well it then behaves like them.

The law is estimated from the rewards of every training batch (`bots.simulation.fit`). What is shown is another
matter: the simulator, left to itself with the selection of each run, against that run's held-out scores, which
the estimate never saw.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from rich.console import Console

from bots.config.tree import ConfigError, dump_config, parse_config
from bots.simulation import Simulation, Trace, simulate
from bots.simulation.fit import Fit, fit
from pipelines.simulations.config import SimulationConfig
from pipelines.simulations.picture import running_mean
from pipelines.simulations.runs import RealRun, read_runs

SEEDS = 8
WIDTH = 10
REAL, SIMULATED = "#222222", "#0b6e99"


def fit_job(
    fitted: Sequence[Path], checked: Sequence[Path], into: Path, console: Console, overwrite: bool = False
) -> dict[str, Any]:
    """Fit, compare, and write `simulation.yaml` (for `bots simulate`), `fit.json` and `fit.png` into a folder.

    checked: runs that are only compared with. Returns what `fit.json` holds. An earlier fit in the folder is replaced
    when there is a new one.
    """
    if into.exists() and not into.is_dir():
        raise ConfigError(f"{into} is a file; choose a folder with --into")
    if into.exists() and any(into.iterdir()):
        if not (into / "fit.json").exists():
            raise ConfigError(f"{into} exists and holds no fit; choose another folder with --into")
        if not overwrite:
            raise ConfigError(f"{into} exists; replace it with --overwrite, or choose another with --into")
    tasks, runs = read_runs([*fitted, *checked])
    found = fit(tasks, [run.groups for run in runs[: len(fitted)]])
    traces = [[simulate(_like(run, found), seed) for seed in range(SEEDS)] for run in runs]
    report = {
        "log_likelihood_per_group": found.log_likelihood / found.groups,
        "groups": found.groups,
        "law": asdict(found.law),
        "runs": {
            run.name: {"used_in_the_fit": i < len(fitted), **_errors(run, traces[i])}
            for i, run in enumerate(runs)
        },
    }
    config = configuration(into.name, found, runs)
    if (into / "fit.json").exists():
        shutil.rmtree(into)
    into.mkdir(parents=True, exist_ok=True)
    (into / "fit.json").write_text(json.dumps(report, indent=2) + "\n")
    (into / "simulation.yaml").write_text(dump_config(config))
    _draw(runs, traces, len(fitted), into / "fit.png")
    for name, value in report["law"].items():
        console.print(f"  {name:22}{value:.4g}", highlight=False)
    for name, errors in report["runs"].items():
        parts = "  ".join(f"{key} {value:.4f}" for key, value in errors.items() if isinstance(value, float))
        console.print(f"{name}: {parts}", highlight=False, soft_wrap=True)
    for file in ("simulation.yaml", "fit.json", "fit.png"):
        console.print(f"  {into / file}", highlight=False, soft_wrap=True)
    return report


def configuration(name: str, found: Fit, runs: Sequence[RealRun]) -> SimulationConfig:
    """The fitted simulation as a configuration for `bots simulate`, with the runs' budget."""
    config = runs[0].config
    tree = {
        "run": {"name": name, "steps": config.run.steps},
        "world": _rounded(asdict(found.world)),
        "law": _rounded(asdict(found.law)),
        "selection": {"tasks": config.selection.tasks},
        "rollout": {"samples": config.rollout.samples},
    }
    return parse_config(SimulationConfig, tree, "the fit")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _like(run: RealRun, found: Fit) -> Simulation:
    """The fitted simulator with the run's own selection, budget and evaluations."""
    selection, n = run.config.selection, run.config.rollout.samples
    options = selection.settings(n, 0)
    del options["rollouts"], options["seed"]
    steps = len(run.etr)
    return Simulation(found.world, found.law, steps, selection.tasks, n, 0, 1, options)


def _errors(run: RealRun, traces: Sequence[Trace]) -> dict[str, float | None]:
    """Root-mean-square errors of the simulated means: held-out score; ETR and batch reward, means of 10 steps."""
    etr, reward = (np.mean([running_mean(x, WIDTH) for x in xs], axis=0) for xs in _batches(traces))
    score = None if run.score is None else _rms(_at(traces, run.score.at).mean(axis=0) - run.score.scores)
    return {
        "score_rmse": score,
        "score_range": None if run.score is None else float(np.ptp(run.score.scores)),
        "etr_rmse": _rms(etr - running_mean(run.etr, WIDTH)),
        "reward_rmse": _rms(reward - running_mean(run.reward, WIDTH)),
    }


def _batches(traces: Sequence[Trace]) -> tuple[list[npt.NDArray], list[npt.NDArray]]:
    return [t.etr for t in traces], [t.observed.mean(axis=1) for t in traces]


def _at(traces: Sequence[Trace], steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([np.interp(steps, t.curve.at, t.curve.scores) for t in traces])


def _rms(values: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _draw(runs: Sequence[RealRun], traces: Sequence[Sequence[Trace]], fitted: int, path: Path) -> None:
    figure = Figure(figsize=(13, 3.6 * len(runs)), layout="constrained")
    axes = figure.subplots(len(runs), 3, squeeze=False, sharey="col")
    for row, (run, simulated) in enumerate(zip(runs, traces, strict=True)):
        errors = _errors(run, simulated)
        use = "fitted" if row < fitted else "predicted"
        score, etr, reward = axes[row]
        if run.score is not None:
            curves = np.array([t.curve.scores for t in simulated])
            _band(score, simulated[0].curve.at, curves)
            score.plot(run.score.at, run.score.scores, color=REAL, marker="o", ms=3, lw=1, label="real run")
            score.set_title(f"{run.name} ({use}): score, RMSE {errors['score_rmse']:.3f}")
        score.set(ylabel="held-out score")
        for axis, real, made, name in (
            (etr, run.etr, _batches(simulated)[0], "etr"),
            (reward, run.reward, _batches(simulated)[1], "reward"),
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
    figure.savefig(path, dpi=110)


def _band(axis: Any, x: npt.NDArray[Any], values: npt.NDArray[np.float64]) -> None:
    axis.plot(x, values.mean(axis=0), color=SIMULATED, lw=1.6, label=f"simulated, {len(values)} seeds")
    axis.fill_between(x, values.min(axis=0), values.max(axis=0), color=SIMULATED, alpha=0.18, linewidth=0)
