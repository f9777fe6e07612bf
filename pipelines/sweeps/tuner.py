"""Ray Tune's tuner for a sweep: a new one, or one restored after the sweep was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, Tuner
from ray.tune.logger import JsonLoggerCallback

from bots.config.tree import ConfigError
from pipelines.simulations.config import SimulationConfig
from pipelines.sweeps.config import Sweep
from pipelines.sweeps.run_folder import TRIALS
from pipelines.sweeps.search import make_scheduler, make_searcher
from pipelines.sweeps.trials import DRIVER, baselines, bundles, simulate_trial, train_trial
from pipelines.sweeps.turns import Turns

STATE = "tune"
TURNS: Any = Turns  # type checkers ignore what `@ray.remote` returns


def new_tuner(sweep: Sweep, folder: Path, at_a_time: int) -> Tuner:
    """The tuner of a new sweep.

    folder: the sweep's folder, where its state is saved. at_a_time: concurrent trials.
    """
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
            scheduler=make_scheduler(sweep, at_a_time, folder / STATE),
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
            # Otherwise the last decision would follow the last step and replace a finished run.
            stop={"step": sweep.budget} if pbt else None,
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
            # All trials of a population must be alive, so Tune itself can't limit them.
            turns=TURNS.remote(at_a_time) if pbt else None,
        )

        def place(point: dict[str, Any]) -> tune.PlacementGroupFactory:
            # If a trial waits for its turn, its engines get their resources with the turn.
            return tune.PlacementGroupFactory([DRIVER, *([] if pbt else bundles(sweep.train_job(point)))])

        return tune.with_resources(bound, place)
    base, only_selection = sweep.base_job, all(key.startswith("selection.") for key in config.space)
    random = baselines(base) if only_selection and isinstance(base, SimulationConfig) else None
    bound = tune.with_parameters(
        simulate_trial,
        tree=sweep.tree,
        metric=config.search.metric,
        each_seed=config.scheduler.kind != "none",
        random=random,
    )
    return tune.with_resources(bound, {"CPU": config.search.cpus})


def restored_tuner(sweep: Sweep, folder: Path, at_a_time: int) -> Tuner | None:
    """The tuner restored from the killed sweep; None if that had not begun."""
    if not Tuner.can_restore(str(folder / STATE)):
        return None
    try:
        tuner = Tuner.restore(str(folder / STATE), _trainable(sweep, folder, at_a_time), restart_errored=True)
    except Exception as error:  # a damaged pickle raises anything
        what = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ConfigError(
            f"{folder / STATE} is damaged, so the sweep can't be resumed ({what}); its trials are in {folder}. Replace "
            "the sweep with --overwrite, or choose another sweep.name"
        ) from error
    # Folder and cluster may have changed.
    internal: Any = tuner._local_tuner
    settings = internal._tune_config
    settings.scheduler = make_scheduler(sweep, at_a_time, folder / STATE)
    if settings.max_concurrent_trials:
        settings.max_concurrent_trials = at_a_time
    elif sweep.config.scheduler.kind != "pbt":
        settings.search_alg.max_concurrent = at_a_time
    return tuner
