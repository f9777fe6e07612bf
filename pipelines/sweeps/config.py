"""The configuration of a sweep: the job, the search space, the searcher and the scheduler."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bots.config.train import TrainConfig
from bots.config.tree import (
    ConfigError,
    Count,
    FolderName,
    Section,
    UserPath,
    parse_config,
    read_tree,
    read_value,
)
from pipelines.simulations.config import SimulationConfig
from pipelines.sweeps.space import Range, check, lay, points, value_at

PAIRED_METRICS = ("gain", "ttb50", "ttb100", "ttb100_completions", "bsf25", "bsf100", "etr", "signal")
"""Metrics of a simulation that hardly depend on which seeds have run so far."""
SIMULATED_METRICS = (*PAIRED_METRICS, "mean_score", "best_score", "score")
TRAINED_METRICS = ("best_score", "mean_score", "score", "etr")


class SweepConfig(Section):
    """The sweep itself."""

    name: FolderName
    """Name of the sweep; its results are in `folder/name`."""
    folder: UserPath = Path("runs")
    """Where sweeps are stored; on a cluster, storage that all nodes share."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the searcher. Trials have the seeds of the base job, so they are paired."""

    @property
    def path(self) -> Path:
        """The sweep's folder, absolute."""
        return (self.folder / self.name).absolute()


class SearchConfig(Section):
    """How the next trial is chosen."""

    method: Literal["grid", "random", "optuna"] = "grid"
    """grid: every combination. random. optuna: the tree-structured Parzen estimator (TPE)."""
    trials: Count = 20
    """Number of trials of random and optuna, starting with the base's values; a grid has its own number. With PBT: the
    size of the population."""
    metric: str = "mean_score"
    """What is maximised. Simulation: gain (mean_score minus random's on the same seeds), bsf25, bsf100, etr, signal,
    mean_score, best_score, score; ttb50, ttb100 and ttb100_completions (over completions, not steps) are minimised.
    Training: best_score, mean_score (of the learning curve), score or etr."""
    concurrent: Count | None = None
    """Concurrent trials; none: as many as the cluster has resources for."""
    cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPUs of one simulated trial; a train job has its own settings."""


class SchedulerConfig(Section):
    """Which trials continue."""

    kind: Literal["none", "asha", "pbt"] = "none"
    """asha: stop bad trials early (arXiv 1810.05934). pbt: bad trials copy the state of a good one and vary its values
    (arXiv 1711.09846). The budget of a simulation is its seeds, that of a train job its steps."""
    grace: Count = 1
    """asha: seeds or steps before a trial may be stopped."""
    reduction: Annotated[float, Field(gt=1)] = 3
    """asha: one in this many trials continues at each rung."""
    interval: Count = 10
    """pbt: steps between two decisions, where the run writes a checkpoint, stops and is resumed."""
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """pbt: share of the population that is replaced, and share it is replaced from."""


class TuneConfig(Section):
    """A whole sweep."""

    sweep: SweepConfig
    target: Literal["simulate", "train"]
    """The job that is varied."""
    base: UserPath
    """Its configuration file; a relative path starts at the sweep's file."""
    overrides: dict[str, Any] = {}  # noqa: RUF012
    """`section.key: value` pairs that override the base."""
    space: dict[str, Range]
    """Keys of the job (`section.key`) and their ranges."""
    search: SearchConfig = SearchConfig()
    scheduler: SchedulerConfig = SchedulerConfig()

    @model_validator(mode="after")
    def _possible_together(self) -> TuneConfig:
        allowed = SIMULATED_METRICS if self.target == "simulate" else TRAINED_METRICS
        if self.search.metric not in allowed:
            raise ValueError(
                f"search.metric is {self.search.metric!r}; target {self.target} has {', '.join(allowed)}"
            )
        if (
            self.target == "simulate"
            and self.scheduler.kind == "asha"
            and self.search.metric not in PAIRED_METRICS
        ):
            raise ValueError(
                f"search.metric is {self.search.metric!r}, which depends on the seeds' tasks, and asha compares trials "
                f"after different seeds; choose {', '.join(PAIRED_METRICS)}"
            )
        if not self.space:
            raise ValueError("space is empty; name at least one key to vary")
        continuous = [key for key, one in self.space.items() if one.values is None]
        if self.search.method == "grid" and continuous:
            raise ValueError(
                f"search.method is grid, but {', '.join(continuous)} has no values; "
                "list some, or search by random or optuna"
            )
        if self.scheduler.kind == "pbt":
            if self.target != "train":
                raise ValueError("scheduler.kind is pbt, which passes checkpoints on; a simulation has none")
            if self.search.method != "random":
                raise ValueError(
                    f"search.method is {self.search.method}; pbt varies the values itself and starts at random"
                )
            frozen = [key for key in self.space if not key.startswith(PASSED_ON)]
            if frozen:
                raise ValueError(
                    f"space has {', '.join(frozen)}, which a running job cannot change; "
                    f"pbt may vary {', '.join(PASSED_ON)}"
                )
        return self


PASSED_ON = ("selection.lam", "selection.rho", "selection.p_star", "learner.lr")
"""Keys that may change when a job is resumed from another job's checkpoint."""


class Sweep:
    """A checked sweep: its configuration, its base job's configuration tree, and that job."""

    def __init__(self, config: TuneConfig, tree: dict[str, Any]) -> None:
        self.config, self.tree = config, tree
        if config.search.method == "optuna" and find_spec("optuna") is None:
            raise ConfigError("search.method is optuna, which is not installed: pip install optuna")
        self.base_job = base = self.job({})
        check(config.space, tree, self._build)
        self.config = config = config.model_copy(update={"space": self._space_as_built()})
        if isinstance(base, TrainConfig):
            if base.evaluation.pool is None:
                raise ConfigError("base: evaluation.pool is not set, so trials would have no score")
            if config.scheduler.kind == "pbt" and base.run.steps <= config.scheduler.interval:
                raise ConfigError(
                    f"scheduler.interval is {config.scheduler.interval} and run.steps {base.run.steps}: "
                    "the run would end before the first decision; lower the interval"
                )
        elif base.run.seeds < 2:
            raise ConfigError("base: run.seeds is 1; one seed is one draw, a sweep needs at least 2")

    def job(self, point: dict[str, Any]) -> TrainConfig | SimulationConfig:
        """The job's configuration at a point of the space."""
        return self._build(lay(self.tree, point))

    def train_job(self, point: dict[str, Any]) -> TrainConfig:
        """The same, of a sweep over train jobs. Raises TypeError for one over simulations."""
        job = self.job(point)
        if not isinstance(job, TrainConfig):
            raise TypeError(f"the sweep {self.config.sweep.name} varies a simulation, not a train job")
        return job

    def resolved(self) -> dict[str, Any]:
        """The base's configuration as a tree, with all defaults."""
        return self.base_job.model_dump(mode="json")

    def described(self) -> dict[str, Any]:
        """The sweep and its base job with all defaults: the content of `sweep.yaml`."""
        return {
            "tune": self.config.model_dump(mode="json", exclude_none=True),
            "job": self.resolved(),
        }

    def base_point(self) -> dict[str, Any] | None:
        """The base's values; None if one of them is outside the space."""
        tree = self.resolved()
        point = {key: value_at(tree, key) for key in self.config.space}
        inside = all(self.config.space[key].holds(value) for key, value in point.items())
        return point if inside else None

    @property
    def note(self) -> str | None:
        """A note for the results if the base tunes λ and ρ or has a measured prior, and no trial does; else None."""
        base = self.base_job.selection
        trials = [self.job(point).selection for point in points(self.config.space)]
        lost = []
        if base.adaptor is not None and not any(trial.adaptor for trial in trials):
            lost.append("tunes λ and ρ during the run (selection.adaptor), the trials keep them fixed")
        if base.has_measured_prior and not any(trial.has_measured_prior for trial in trials):
            lost.append(
                "takes its prior from reference pass rates where there are any, the trials have [1, 1]"
            )
        if not lost:
            return None
        return (
            f"the base {'; it '.join(lost)}; compare the best with the base itself: bots {self.config.target} "
            f"{self.config.base}"
        )

    @property
    def minimised(self) -> bool:
        """Whether a smaller metric is better."""
        return self.config.search.metric.startswith("ttb")

    @property
    def budget(self) -> int:
        """The last `step` that a complete trial reports: the job's steps, or the simulation's seeds."""
        job = self.base_job
        return job.run.steps if isinstance(job, TrainConfig) else job.run.seeds

    def _space_as_built(self) -> dict[str, Range]:
        """The space with each value as the job parses it."""
        space, first = {}, {key: one.samples[0] for key, one in self.config.space.items()}
        for key, one in self.config.space.items():
            if one.values is None:
                space[key] = one
                continue
            built = [value_at(self.job(first | {key: v}).model_dump(mode="json"), key) for v in one.values]
            # Sections stay as written, and null stays null: it may stand for a default.
            values = [
                v if v is None or isinstance(v, dict) else b for v, b in zip(one.values, built, strict=True)
            ]
            if len({repr(value) for value in values}) < len(values):
                raise ConfigError(
                    f"space.{key}: values is {one.values}; to the job it is {values}, one of them twice"
                )
            space[key] = Range(values=values)
        return space

    def _build(self, tree: dict[str, Any]) -> TrainConfig | SimulationConfig:
        if self.config.target == "train":
            return parse_config(TrainConfig, tree, str(self.config.base))
        return parse_config(SimulationConfig, tree, str(self.config.base))


def load_sweep(path: str | Path, overrides: list[str] | None = None) -> Sweep:
    """Read a sweep's file, apply overrides, and check it together with its base job.

    Overrides: `section.key=value` of the sweep; `base.section.key=value` of the job; `space.section.key=[0.1, 0.2]` of
    the space, where `null` removes a key. Raises ConfigError for every error.
    """
    of: dict[str, list[str]] = {"base.": [], "space.": [], "": []}
    for override in overrides or []:
        prefix = next(prefix for prefix in of if override.startswith(prefix))
        of[prefix].append(override.removeprefix(prefix))
    tree = read_tree(path, of[""])
    space = tree.setdefault("space", {})
    if not isinstance(space, dict):
        raise ConfigError(f"{path}: space is {space!r}, not the keys of a job with what they may be")
    space |= dict(read_value(override) for override in of["space."])
    tree["space"] = {key: one for key, one in space.items() if one is not None}
    config = parse_config(TuneConfig, tree, str(path))
    base = config.base if config.base.is_absolute() else Path(path).parent / config.base
    config = config.model_copy(update={"base": base.resolve()})
    given = {override.partition("=")[0] for override in of["base."]}
    laid = {key: value for key, value in config.overrides.items() if key not in given}
    return Sweep(config, lay(read_tree(base, of["base."]), laid))
