"""Sweeps on Ray Tune: simulated or real training over a search space, with early stopping or populations.

`bots tune tune_configs/sim_grid.yaml` writes all trials, the best configuration and pictures to `runs/sim_grid`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.environment import driver_environment
from bots.files import replace_text

os.environ.update({k: v for k, v in driver_environment().items() if k not in os.environ})
# Its TensorBoard files know no infinite TTB and complain; the sweep writes tables of its own.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# Often enough that a killed sweep loses little; Ray's own choice adapts to the time that saving takes.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "5")

import ray
import yaml
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, Tuner
from ray.tune.logger import JsonLoggerCallback
from rich.console import Console

from bots.config import TrainConfig
from bots.config_tree import ConfigError
from pipelines.command import run_job
from pipelines.session import ray_session
from pipelines.summary import summarise
from pipelines.sweeps.config import Sweep, load_sweep
from pipelines.sweeps.pictures import draw
from pipelines.sweeps.plan import trial_demand
from pipelines.sweeps.results import SweepResults, read_results
from pipelines.sweeps.search import make_scheduler, make_searcher
from pipelines.sweeps.trials import DRIVER, baselines, bundles, simulate_trial, train_trial
from pipelines.sweeps.turns import Turns

if TYPE_CHECKING:
    from pipelines.preparation import Prepared

MARK = "sweep.yaml"
STATE = "tune"
TRIALS = "trials"


class SweepFailed(RuntimeError):
    """Not one trial finished."""


def run_sweep(
    sweep: Sweep, console: Console, *, resume: bool = False, overwrite: bool = False
) -> SweepResults:
    """Run all trials of a sweep and write its results; returns them.

    resume: go on with the sweep in the folder; finished trials are kept. overwrite: replace it.
    Raises ConfigError or ResourceError before any trial starts.
    """
    config = sweep.config
    trains = config.target == "train"
    if base := prepared_base(sweep):
        base.warn(console)
    demand = trial_demand(sweep)
    started = time.monotonic()
    # What a stopped trial's learners held is given back by an actor of Ray Train's that asks the dashboard whether
    # the job is still alive; without one it stays taken until the sweep ends.
    with ray_session(dashboard=trains):
        resources = ray.cluster_resources()
        at_a_time = demand.concurrent(resources, config.search.concurrent)
        folder = claim_sweep(sweep, resume=resume, overwrite=overwrite)
        console.print(demand.describe(resources, config.search.concurrent), highlight=False, soft_wrap=True)
        tuner = _restored(sweep, folder, at_a_time) if resume else None
        grid = (tuner or _tuner(sweep, folder, at_a_time)).fit()
        results = read_results(sweep, grid, _budget(sweep))
    if trains:
        close_runs(results, folder / TRIALS)
    results.write(folder)
    pictures = draw(results, folder)
    # A line is not broken where there is no terminal, or a log would hold only dots.
    wide = console if console.is_terminal else Console(file=console.file, width=max(console.width, 140))
    wide.print(results.show())
    console.print(f"{len(results.trials)} trials in {time.monotonic() - started:.0f} s", highlight=False)
    for path in (folder / "trials.parquet", folder / "best.yaml", folder / "summary.json", *pictures):
        if path.exists():
            console.print(f"  {path}", highlight=False, soft_wrap=True)
    return results


def prepared_base(sweep: Sweep) -> Prepared | None:
    """The train job that a sweep varies, ready to start; None for a simulation.

    Raises ConfigError or PoolError for what can't be trained.
    """
    base = sweep.job({})
    if not isinstance(base, TrainConfig):
        return None
    from pipelines.preparation import prepare  # loads the models' code, which a simulation has no use for

    return prepare(base)


def close_runs(results: SweepResults, folder: Path) -> None:
    """Write the summary of every run that was ended by the sweep, or by its failure, before it could do so itself."""
    for trial in results.trials:
        if trial.status != "finished" and (folder / trial.name / "config.yaml").exists():
            summarise(folder / trial.name, None, trial.seconds, trial.status)


def claim_sweep(sweep: Sweep, *, resume: bool, overwrite: bool) -> Path:
    """Make the sweep's folder, or take the existing one as the flags allow.

    Raises ConfigError for a folder that exists (without a flag), of another sweep, or of something else.
    """
    folder, known = sweep.config.sweep.path, sweep.config.sweep.path / MARK
    ours = described(sweep)
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other")
    if resume:
        if not known.exists():
            raise ConfigError(f"nothing to resume in {folder}")
        _refuse_other_sweep(yaml.safe_load(known.read_text()), ours, known)
        return folder
    if folder.exists() and any(folder.iterdir()):
        if not known.exists():
            raise ConfigError(f"{folder} exists and is not a sweep's folder; choose another sweep.name")
        if not overwrite:
            raise ConfigError(
                f"sweep folder {folder} exists; continue it with --resume, replace it with --overwrite, "
                "or choose another sweep.name"
            )
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TRIALS).mkdir()
        replace_text(known, yaml.safe_dump(ours, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise ConfigError(f"sweep folder {folder} cannot be written: {error.strerror}") from error
    return folder


def described(sweep: Sweep) -> dict[str, Any]:
    """The sweep and the job that it varies, with all defaults: what `sweep.yaml` holds."""
    return {
        "tune": sweep.config.model_dump(mode="json", exclude_none=True),
        "job": sweep.resolved({}),
    }


def _refuse_other_sweep(before: dict[str, Any], now: dict[str, Any], known: Path) -> None:
    free = {"tune.sweep.folder", "tune.search.concurrent", "tune.base"}
    old, new = _flat(before), _flat(now)
    for key in sorted(set(old) | set(new)):
        if old.get(key) != new.get(key) and key not in free:
            raise ConfigError(
                f"{known} is of another sweep: {key} was {old.get(key)!r}, now it is {new.get(key)!r}; "
                "a resumed sweep must keep it"
            )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {prefix.rstrip("."): tree}
    return {k: v for key, value in tree.items() for k, v in _flat(value, f"{prefix}{key}.").items()}


def _budget(sweep: Sweep) -> int:
    """What `step` a trial that is not stopped reports last: the job's steps, or a simulation's seeds."""
    run = sweep.job({}).run
    return run.steps if sweep.config.target == "train" else run.seeds


def _tuner(sweep: Sweep, folder: Path, at_a_time: int) -> Tuner:
    config = sweep.config
    algorithm = make_searcher(sweep, at_a_time)
    grid = config.search.method == "grid"
    pbt = config.scheduler.kind == "pbt"
    space = None if config.search.method == "optuna" else {k: r.domain(grid) for k, r in config.space.items()}
    return Tuner(
        _trainable(sweep, folder, at_a_time),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=config.search.metric,
            mode="min" if sweep.minimised else "max",
            num_samples=1 if grid else config.search.trials,
            search_alg=algorithm,
            scheduler=make_scheduler(sweep, _budget(sweep), at_a_time, folder / STATE),
            max_concurrent_trials=at_a_time if config.search.method == "optuna" else None,
            reuse_actors=config.target == "simulate",
            trial_dirname_creator=_trial_name,
        ),
        run_config=RunConfig(
            name=STATE,
            storage_path=str(folder),
            verbose=0,
            callbacks=[JsonLoggerCallback()],
            failure_config=FailureConfig(max_failures=0),
            # Else the last decision would come after the last step, and replace a run that has ended.
            stop={"step": _budget(sweep)} if pbt else None,
            checkpoint_config=CheckpointConfig(num_to_keep=3 if pbt else None),
        ),
    )


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)


def _trainable(sweep: Sweep, folder: Path, at_a_time: int) -> Any:
    config = sweep.config
    if config.target == "train":
        pbt = config.scheduler.kind == "pbt"
        bound = tune.with_parameters(
            train_trial,
            tree=sweep.tree,
            folder=str(folder / TRIALS),
            interval=config.scheduler.interval if pbt else None,
            # Its trials must all be alive at once, so they can't be limited by Tune itself.
            turns=Turns.remote(at_a_time) if pbt else None,
        )

        def place(point: dict[str, Any]) -> tune.PlacementGroupFactory:
            # The engines of a trial that has to wait for its turn come with the turn.
            return tune.PlacementGroupFactory([DRIVER, *([] if pbt else bundles(sweep.job(point)))])

        return tune.with_resources(bound, place)
    only_selection = all(key.startswith("selection.") for key in config.space)
    random = baselines(sweep.job({})) if only_selection else None
    bound = tune.with_parameters(
        simulate_trial,
        tree=sweep.tree,
        metric=config.search.metric,
        each_seed=config.scheduler.kind != "none",
        random=random,
    )
    return tune.with_resources(bound, {"CPU": config.search.cpus})


def _restored(sweep: Sweep, folder: Path, at_a_time: int) -> Tuner | None:
    """The tuner as it was when the sweep was killed; None if it had not begun."""
    if not Tuner.can_restore(str(folder / STATE)):
        return None
    tuner = Tuner.restore(str(folder / STATE), _trainable(sweep, folder, at_a_time), restart_errored=True)
    # Folder and cluster may be others by now.
    settings = tuner._local_tuner._tune_config
    settings.scheduler = make_scheduler(sweep, _budget(sweep), at_a_time, folder / STATE)
    if settings.max_concurrent_trials:
        settings.max_concurrent_trials = at_a_time
    elif sweep.config.scheduler.kind != "pbt":
        settings.search_alg.max_concurrent = at_a_time
    return tuner


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots tune", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a YAML file, see tune_configs/")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="section.key=value",
        help="laid over the file; base.section.key=value over the job",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the sweep and its plan, check its job, and stop"
    )
    parser.add_argument("--resume", action="store_true", help="go on with a sweep that was interrupted")
    parser.add_argument("--overwrite", action="store_true", help="replace the sweep's folder")
    options = parser.parse_intermixed_args(arguments)

    def job(console: Console) -> None:
        sweep = load_sweep(options.config, options.overrides)
        if options.dry_run:
            _show(sweep, console)
            return
        results = run_sweep(sweep, console, resume=options.resume, overwrite=options.overwrite)
        if not results.ranked():
            errors = {t.error for t in results.trials if t.error}
            raise SweepFailed(f"no trial finished: {'; '.join(sorted(errors))}")

    return run_job("tune", job, failures=(SweepFailed,))


def _show(sweep: Sweep, console: Console) -> None:
    text = yaml.safe_dump(described(sweep), sort_keys=False, allow_unicode=True)
    console.print(text, markup=False, highlight=False, end="", soft_wrap=True)
    for line in trial_demand(sweep).describe().splitlines():
        console.print(f"# {line}", highlight=False, soft_wrap=True)
    # Last, so that the plan can be read where the model or the tasks are out of reach.
    if base := prepared_base(sweep):
        for line in base.outline():
            console.print(f"# {line}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
