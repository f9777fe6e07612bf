"""Sweeps on Ray Tune: simulated or real training over a search space, with early stopping or populations.

`bots tune tune_configs/sim_grid.yaml` writes all trials, the best configuration and pictures to `runs/sim_grid`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from actors.environment import driver_environment

os.environ.update({k: v for k, v in driver_environment().items() if k not in os.environ})
# Tune's TensorBoard logger cannot write an infinite TTB; the sweep writes its own tables.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# Often, so that a killed sweep loses little; Ray's default adapts to the time that saving takes.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "5")
# Tune's handler ends a sweep as if it were done; ours records the interrupt.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")

import ray
import yaml
from rich.console import Console

from bots.config.train import TrainConfig
from pipelines.shared.command import run_job
from pipelines.shared.job_folder import CONFIG
from pipelines.shared.lock import folder_lock
from pipelines.shared.ray_session import ray_session
from pipelines.shared.summary import summarise
from pipelines.sweeps.config import Sweep, load_sweep
from pipelines.sweeps.interrupts import noting_interrupts
from pipelines.sweeps.plots import draw
from pipelines.sweeps.resources import trial_demand
from pipelines.sweeps.results import SweepResults, read_results
from pipelines.sweeps.run_folder import TRIALS, check_folder, create_folder
from pipelines.sweeps.tuner import new_tuner, restored_tuner

if TYPE_CHECKING:
    from pipelines.shared.preflight import RunInputs


class SweepFailed(RuntimeError):
    """Not one trial finished with a finite metric."""


def run_sweep(
    sweep: Sweep, console: Console, *, resume: bool = False, overwrite: bool = False
) -> SweepResults:
    """Run all trials of a sweep, write the results and return them; `interrupted` tells whether it was interrupted.

    resume: continue the sweep in the folder; finished trials are kept. overwrite: replace it.
    Raises ConfigError or ResourceError before any trial starts.
    """
    config = sweep.config
    trains = config.target == "train"
    if base := base_inputs(sweep):
        base.warn(console)
    demand = trial_demand(sweep)
    started = time.monotonic()
    with folder_lock(config.sweep.path, console, "sweep.name"):
        check_folder(sweep, resume=resume, overwrite=overwrite)
        # The dashboard: an actor of Ray Train asks it whether a job is alive and, if not, releases its learners'
        # resources. Without it, stopped trials would keep them until the sweep ends.
        with ray_session(dashboard=trains, models=trains):
            resources = ray.cluster_resources()
            at_a_time = demand.concurrent(resources, config.search.concurrent)
            folder = create_folder(sweep, resume=resume, overwrite=overwrite)
            console.print(
                demand.describe(resources, config.search.concurrent), highlight=False, soft_wrap=True
            )
            tuner = restored_tuner(sweep, folder, at_a_time) if resume else None
            tuner = tuner or new_tuner(sweep, folder, at_a_time)
            with noting_interrupts() as interrupted:
                grid = tuner.fit()
            results = read_results(sweep, grid, interrupted.is_set())
        if trains:
            close_runs(results, folder / TRIALS)
        results.write(folder)
        pictures = draw(results, folder)
    # Wide if there is no terminal: a log would otherwise have truncated cells.
    wide = console if console.is_terminal else Console(file=console.file, width=max(console.width, 140))
    wide.print(results.show())
    if note := sweep.note:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(results.trials)} trials in {time.monotonic() - started:.0f} s", highlight=False)
    if results.interrupted:
        console.print("The sweep was interrupted; --resume continues it.", highlight=False)
    for path in (folder / "trials.parquet", folder / "best.yaml", folder / "summary.json", *pictures):
        if path.exists():
            console.print(f"  {path}", highlight=False, soft_wrap=True)
    return results


def base_inputs(sweep: Sweep) -> RunInputs | None:
    """The checked inputs of the train job that a sweep varies; None for a simulation.

    Raises ConfigError or PoolError if the job cannot run.
    """
    base = sweep.base_job
    if not isinstance(base, TrainConfig):
        return None
    # Here because it imports the models' code, which simulations don't need.
    from pipelines.shared.preflight import load_inputs

    return load_inputs(base)


def close_runs(results: SweepResults, folder: Path) -> None:
    """Write the summary of every run that was stopped or failed before it could write its own."""
    for trial in results.trials:
        if trial.status != "finished" and (folder / trial.name / CONFIG).exists():
            status = "failed" if trial.status == "failed" else "stopped"
            summarise(folder / trial.name, None, trial.seconds, status, trial.error)


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots tune", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a YAML file, for example from tune_configs/")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="section.key=value",
        help="overrides a key of the file; base.section.key=value overrides one of the job",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the sweep and its resource plan, check its job, and exit",
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted sweep")
    parser.add_argument("--overwrite", action="store_true", help="replace the sweep's folder")
    options = parser.parse_intermixed_args(arguments)

    def job(console: Console) -> None:
        sweep = load_sweep(options.config, options.overrides)
        if options.dry_run:
            _show(sweep, console)
            return
        results = run_sweep(sweep, console, resume=options.resume, overwrite=options.overwrite)
        if results.interrupted:
            raise KeyboardInterrupt
        if not results.ranked():
            finished = any(t.status == "finished" for t in results.trials)
            what = f"has a finite {results.metric}; try another search.metric" if finished else "finished"
            errors = sorted({t.error for t in results.trials if t.error})
            raise SweepFailed(": ".join(filter(None, [f"no trial {what}", "; ".join(errors)])))

    return run_job("tune", job, failures=(SweepFailed,))


def _show(sweep: Sweep, console: Console) -> None:
    text = yaml.safe_dump(sweep.described(), sort_keys=False, allow_unicode=True)
    console.print(text, markup=False, highlight=False, end="", soft_wrap=True)
    plan = trial_demand(sweep).describe()
    for line in (*plan.splitlines(), *filter(None, [sweep.note])):
        console.print(f"# {line}", markup=False, highlight=False, soft_wrap=True)
    # Last, so that the plan is printed even if the model or the tasks cannot be loaded.
    if base := base_inputs(sweep):
        for line in base.summary_lines():
            console.print(f"# {line}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
