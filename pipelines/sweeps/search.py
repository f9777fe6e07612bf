"""Ray Tune's searcher and scheduler for a sweep."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, Searcher

from pipelines.sweeps.config import PASSED_ON, Sweep
from pipelines.sweeps.space import Range


def make_searcher(sweep: Sweep, at_a_time: int) -> Searcher | SearchAlgorithm:
    """The searcher; it proposes the base's values first if they are in the space."""
    config = sweep.config
    first = sweep.base_point()
    if config.search.method == "optuna":
        from optuna.samplers import TPESampler
        from ray.tune.search.optuna import OptunaSearch

        return OptunaSearch(
            space={key: _optuna(one) for key, one in config.space.items()},
            metric=config.search.metric,
            mode="min" if sweep.minimised else "max",
            sampler=TPESampler(seed=config.sweep.seed, n_startup_trials=max(5, at_a_time)),
            points_to_evaluate=[first] if first else None,
        )
    start = [first] if first and config.search.method == "random" else None
    # Passed here because Tune's own setting does not reach this searcher.
    return BasicVariantGenerator(
        points_to_evaluate=start,
        random_state=config.sweep.seed,
        max_concurrent=0 if config.scheduler.kind == "pbt" else at_a_time,
    )


def _optuna(one: Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if one.values is not None:
        return CategoricalDistribution(one.values)
    if one.integer:
        return IntDistribution(*one.integer)
    low, high = one.uniform or one.loguniform or (0.0, 0.0)
    return FloatDistribution(low, high, log=one.loguniform is not None)


def make_scheduler(sweep: Sweep, at_a_time: int, results: Path) -> TrialScheduler:
    """The scheduler, which stops trials or passes their state on.

    results: the folder in which Ray Tune has a folder per trial.
    """
    settings = sweep.config.scheduler
    if settings.kind == "asha":
        return _RememberingASHA(
            at_a_time,
            results,
            time_attr="step",
            max_t=sweep.budget,
            grace_period=min(settings.grace, sweep.budget),
            reduction_factor=settings.reduction,
        )
    if settings.kind == "pbt":
        random.seed(sweep.config.sweep.seed)  # the scheduler draws from Python's own generator
        return PopulationBasedTraining(
            time_attr="step",
            perturbation_interval=settings.interval,
            # A list moves to a neighbor; a range is multiplied by 0.8 or 1.2, or resampled.
            hyperparam_mutations={k: r.values or r.domain(grid=False) for k, r in sweep.config.space.items()},
            quantile_fraction=settings.quantile,
            custom_explore_fn=_InsideSpace(sweep),
            synch=True,
        )
    return _Limited(at_a_time)


class _Limited(FIFOScheduler):
    """Limits how many unfinished trials of a resumed sweep run at a time.

    The searcher limits only new trials. Without a limit, the engines of the first trials would take the resources that
    all their learners need.
    """

    def __init__(self, at_a_time: int, **settings: Any) -> None:
        super().__init__(**settings)  # type: ignore[no-untyped-call]
        self.at_a_time = at_a_time

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        if trial.status == Trial.PENDING and self._full(tune_controller, trial):
            trial.set_status(Trial.PAUSED)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        trial = super().choose_trial_to_run(tune_controller)
        full = trial is not None and trial.status == Trial.PAUSED and self._full(tune_controller, trial)
        return None if full else trial

    def _full(self, tune_controller: Any, trial: Trial) -> bool:
        others = [one for one in tune_controller.get_trials() if one is not trial]
        return sum(one.status in (Trial.PENDING, Trial.RUNNING) for one in others) >= self.at_a_time


class _RememberingASHA(_Limited, ASHAScheduler):
    """ASHA that, in a resumed sweep, also compares trials with those that ended before the sweep was killed.

    Ray Tune resumes with an empty scheduler, which would not stop the first trials. Trials that run again report again.
    """

    def __init__(self, at_a_time: int, results: Path, **settings: Any) -> None:
        super().__init__(at_a_time, **settings)
        self.results = results

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        known = self.results / trial.trial_id / "result.json"
        if trial.status == Trial.TERMINATED and known.exists():
            for line in known.read_text().splitlines():
                self.on_trial_result(tune_controller, trial, json.loads(line))


class _InsideSpace:
    """Clips the values that PBT multiplies by 0.8 or 1.2 to their range."""

    def __init__(self, sweep: Sweep) -> None:
        self.space = {key: one for key, one in sweep.config.space.items() if key in PASSED_ON}

    def __call__(self, point: dict[str, Any]) -> dict[str, Any]:
        return {
            key: self.space[key].nearest(value) if key in self.space else value
            for key, value in point.items()
        }
