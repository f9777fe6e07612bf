"""`bots simulate --fit RUN …`: fit the simulator to real runs, and show how well it reproduces them.

The law is estimated from the rewards of every training batch (`bots.simulation.fit`). The plot compares something the
estimate never saw: the fitted simulator, running alone with each run's selection, against the run's held-out scores.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from bots.config.tree import ConfigError, dump_config, parse_config
from bots.simulation import Simulation, simulate
from bots.simulation.fit import Fit, fit
from bots.support.files import replace_text
from pipelines.shared.job_folder import check_writable, replacing_folder
from pipelines.simulations.config import SimulationConfig
from pipelines.simulations.fit_errors import fit_errors
from pipelines.simulations.fit_plot import draw_fit
from pipelines.simulations.runs import RealRun, read_runs

SEEDS = 8
"""Simulated runs for each real one."""


def fit_job(
    fitted: Sequence[Path], checked: Sequence[Path], into: Path, console: Console, overwrite: bool = False
) -> dict[str, Any]:
    """Fit, compare, and write `simulation.yaml` (for `bots simulate`), `fit.json` and `fit.png` into a folder.

    checked: runs that are compared but not fitted. Returns the content of `fit.json`. An earlier fit in the folder is
    replaced only after the new one has succeeded.
    """
    if into.exists() and not into.is_dir():
        raise ConfigError(f"{into} is a file; choose a folder with --into")
    if into.exists() and any(into.iterdir()):
        if not (into / "fit.json").exists():
            raise ConfigError(f"{into} exists and is not a fit; choose another folder with --into")
        if not overwrite:
            raise ConfigError(f"{into} exists; replace it with --overwrite, or choose another with --into")
    check_writable(into.absolute().parent, "--into")
    tasks, runs = read_runs([*fitted, *checked])
    found = fit(tasks, [run.groups for run in runs[: len(fitted)]])
    traces = [[simulate(_like(run, found), seed) for seed in range(SEEDS)] for run in runs]
    report: dict[str, Any] = {
        "log_likelihood_per_group": found.log_likelihood / found.groups,
        "groups": found.groups,
        "law": asdict(found.law),
        "runs": {
            run.name: {"used_in_the_fit": i < len(fitted), **fit_errors(run, traces[i])}
            for i, run in enumerate(runs)
        },
    }
    config = configuration(into.name, found, runs)
    with replacing_folder(into.absolute()) as fresh:
        replace_text(fresh / "fit.json", json.dumps(report, indent=2) + "\n")
        replace_text(fresh / "simulation.yaml", dump_config(config))
        draw_fit(runs, traces, len(fitted), fresh / "fit.png")
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
