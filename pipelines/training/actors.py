"""The actors of a run. The driver creates and owns them, so they outlive the learner group."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.coordinator import Coordinator
from actors.environment import engine_environment
from actors.grader import Grader
from actors.journal import Journal
from actors.partners import Partners
from actors.posterior import PosteriorActor, write_pool
from actors.rollout import RolloutActor
from actors.trackers import tracker_variables
from actors.weights.broker import WeightBroker
from pipelines.shared.job_folder import POOL
from pipelines.shared.resources import EngineBundles

if TYPE_CHECKING:
    # For annotations only: a learner rank unpickles ActorHandles and need not import the preflight checks.
    from pipelines.shared.preflight import RunInputs

log = logging.getLogger(__name__)

_END_SECONDS = 10.0
"""How long the end of a run waits for the coordinator's process; it takes milliseconds unless the machine is busy."""


@dataclass(frozen=True)
class ActorHandles:
    """Handles of every actor of a run except the learner ranks.

    partners: what the coordinator gets when it starts or restarts. pools: object references to the training pool and
    the evaluation pool, for the same purpose. more_engines: engines started after the first ones.
    """

    coordinator: Any
    posterior: Any
    broker: Any
    journal: Any
    partners: Partners
    pools: tuple[Any, Any]
    more_engines: list[tuple[str, Any]] = field(default_factory=list)


def start_actors(
    inputs: RunInputs,
    folder: Path,
    engine_bundles: EngineBundles | None = None,
    grader_bundles: EngineBundles | None = None,
) -> ActorHandles:
    """Start every actor except the learner ranks, with as many engines as the run needs to start.

    The stateful actors (coordinator, posterior, weight broker, journal) run on the driver's node and live as long as
    the driver. Engines and graders run wherever there is room and restart elsewhere; with `engine_bundles` and
    `grader_bundles` they run in those bundles. No other run of the same name may be alive.
    """
    config, run = inputs.config, inputs.config.run
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    pool = folder / POOL
    write_pool(inputs.train.pool, pool)
    engines = [
        _engine(inputs, i, engine_bundles.strategy(i) if engine_bundles else "DEFAULT")
        for i in range(config.rollout.engines_to_start)
    ]
    graders = [
        _grader(inputs, i, grader_bundles.strategy(i) if grader_bundles else "DEFAULT")
        for i in range(config.grading.actors)
    ]
    settings = config.selection.settings(config.rollout.samples, run.seed)
    posterior = _named(PosteriorActor, run.name, "posterior", scheduling_strategy=here).remote(
        str(pool), inputs.train.pool.anchor_columns, settings, str(folder / "posterior")
    )
    journal = _named(Journal, run.name, "journal", scheduling_strategy=here).remote(
        str(folder),
        run.trackers,
        config.model_dump(mode="json"),
        # As an argument: Ray's dashboard would show a runtime environment, and these include API keys.
        tracker_variables() if run.trackers else {},
    )
    broker = _named(WeightBroker, run.name, "broker", scheduling_strategy=here, max_restarts=-1).remote()
    pools = ray.put(inputs.train), ray.put(inputs.evaluation)
    coordinator = _named(Coordinator, run.name, "coordinator", scheduling_strategy=here).remote(
        config, str(folder)
    )
    partners = Partners(posterior, broker, journal, engines, graders)
    return ActorHandles(coordinator, posterior, broker, journal, partners, pools)


def start_more_engines(inputs: RunInputs, handles: ActorHandles) -> None:
    """Start the engines beyond those the run needs to start; each joins when its node is ready.

    Does nothing until the learner group has its resources, which these engines would otherwise take. Call it
    regularly: a coordinator that restarts after a crash has to be told about them again.
    """
    rollout = inputs.config.rollout
    if rollout.engines == rollout.engines_to_start:
        return
    try:
        driven = ray.get(handles.coordinator.drives.remote())
    except RayActorError:
        return  # the coordinator is restarting
    if 0 < driven < rollout.engines:
        for number in range(rollout.engines_to_start + len(handles.more_engines), rollout.engines):
            handles.more_engines.append(_engine(inputs, number))
        handles.coordinator.add_engines.remote(handles.more_engines[driven - rollout.engines_to_start :])


def kill_actors(handles: ActorHandles) -> None:
    """Kill all actors now instead of when the last handle goes out of scope.

    Before that the coordinator ends its work: it would record an actor that is killed as lost, and start it again. To
    kill it first is not enough: Ray calls an actor dead at once, while its process lives on for up to some seconds.
    """
    partners = handles.partners
    workers = [actor for _, actor in (*partners.engines, *partners.graders, *handles.more_engines)]
    try:
        ray.get(handles.coordinator.end.remote(), timeout=_END_SECONDS)
    except (RayActorError, GetTimeoutError) as error:
        log.warning("the coordinator does not answer at the end, and is killed (%s)", type(error).__name__)
    for actor in [handles.coordinator, *workers, handles.posterior, handles.broker, handles.journal]:
        ray.kill(actor)


def _named(actor_class: Any, run: str, name: str, **options: Any) -> Any:
    """An actor class with Ray's options and the name RUN/NAME. (Type checkers ignore what `@ray.remote` returns.)"""
    return actor_class.options(name=f"{run}/{name}", **options)


def _engine(inputs: RunInputs, number: int, strategy: Any = "DEFAULT") -> tuple[str, Any]:
    rollout, run, name = inputs.config.rollout, inputs.config.run, f"rollout-{number}"
    actor = _named(
        RolloutActor,
        run.name,
        name,
        num_cpus=rollout.cpus,
        num_gpus=rollout.gpus,
        resources=rollout.resources,
        scheduling_strategy=strategy,
        runtime_env={"env_vars": engine_environment(rollout.threads, rollout.gpus > 0)},
    ).remote(name, inputs.model, rollout, run.seed + number)
    return name, actor


def _grader(inputs: RunInputs, number: int, strategy: Any = "DEFAULT") -> tuple[str, Any]:
    grading, name = inputs.config.grading, f"grader-{number}"
    pools = [inputs.train, *([inputs.evaluation] if inputs.evaluation else [])]
    used = sorted({grader for one in pools for grader in one.pool.table["grader"].unique().to_pylist()})
    actor = _named(
        Grader, inputs.config.run.name, name, num_cpus=grading.cpus, scheduling_strategy=strategy
    ).remote(
        grading.workers,
        time_limit=grading.timeout_s,
        memory_limit=int(grading.memory_gib * 2**30),
        graders=used,
        unsafe_code_without_sandbox=grading.unsafe_code_without_sandbox,
        judge=grading.judge_options,
    )
    return name, actor
