"""The searcher and the scheduler of a sweep, as Ray Tune has them."""

from __future__ import annotations

import random
from typing import Any

from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, Searcher

from pipelines.tune_config import PASSED_ON, Sweep
from pipelines.tune_space import Range


def make_searcher(sweep: Sweep, at_a_time: int) -> Searcher | SearchAlgorithm:
    """What proposes the next trial; the base's own values first, where they lie in the space."""
    config = sweep.config
    first = sweep.default_point()
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
    # Takes the number itself: Tune's own setting does not reach this searcher.
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
    return FloatDistribution(*(one.uniform or one.loguniform), log=one.loguniform is not None)


def make_scheduler(sweep: Sweep, budget: int) -> TrialScheduler | None:
    """What stops trials or passes their state on. budget: `step` of a whole trial."""
    settings = sweep.config.scheduler
    if settings.kind == "asha":
        return ASHAScheduler(
            time_attr="step",
            max_t=budget,
            grace_period=min(settings.grace, budget),
            reduction_factor=settings.reduction,
        )
    if settings.kind == "pbt":
        random.seed(sweep.config.sweep.seed)  # the scheduler draws from Python's own generator
        return PopulationBasedTraining(
            time_attr="step",
            perturbation_interval=settings.interval,
            # A list: it moves to a neighbour; a range: times 0.8 or 1.2, or drawn anew.
            hyperparam_mutations={k: r.values or r.domain(grid=False) for k, r in sweep.config.space.items()},
            quantile_fraction=settings.quantile,
            custom_explore_fn=_InsideSpace(sweep),
            synch=True,
        )
    return None


class _InsideSpace:
    """PBT multiplies values by 0.8 or 1.2; one that leaves its range goes back to the range's end."""

    def __init__(self, sweep: Sweep) -> None:
        self.space = {key: one for key, one in sweep.config.space.items() if key in PASSED_ON}

    def __call__(self, point: dict[str, Any]) -> dict[str, Any]:
        return {
            key: self.space[key].nearest(value) if key in self.space else value
            for key, value in point.items()
        }
