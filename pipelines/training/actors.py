"""The crew: the actors of a run, made and owned by the driver, so that they outlive the learner group."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError
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
from pipelines.shared.resources import Seats

if TYPE_CHECKING:
    # Only for annotations: a learner rank unpickles a Crew, and need not load what checks models and pools.
    from pipelines.shared.preflight import Prepared


@dataclass(frozen=True)
class Crew:
    """Handles of the actors that the learner ranks and the driver talk to, and of those to be ended.

    partners, pools: what the coordinator is given whenever it starts; pools are references to those for training and
    for evaluation.
    """

    coordinator: Any
    posterior: Any
    broker: Any
    journal: Any
    partners: Partners
    pools: tuple[Any, Any]
    more_engines: list[tuple[str, Any]] = field(default_factory=list)


def hire(prepared: Prepared, folder: Path, seats: Seats | None = None) -> Crew:
    """Start every actor but the learner ranks, and as many engines as the run needs to start.

    Those that hold state are on the driver's node: coordinator, posterior, weight broker and journal live as long
    as the driver does. Engines and graders are wherever there is room, and come back elsewhere; engines with seats
    are there. No run of the same name may be alive.
    """
    config, run = prepared.config, prepared.config.run
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    pool = folder / "pool.arrow"
    write_pool(prepared.train.pool, pool)
    engines = [
        _engine(prepared, i, seats.strategy(i) if seats else "DEFAULT")
        for i in range(config.rollout.engines_to_start)
    ]
    graders = [_grader(prepared, i) for i in range(config.grading.actors)]
    settings = config.selection.settings(config.rollout.samples, run.seed)
    posterior = PosteriorActor.options(name=f"{run.name}/posterior", scheduling_strategy=here).remote(
        str(pool), prepared.train.pool.anchor_columns, settings, str(folder / "posterior")
    )
    journal = Journal.options(name=f"{run.name}/journal", scheduling_strategy=here).remote(
        # Not as its runtime environment, which Ray's dashboard shows: there are keys among them.
        str(folder),
        run.trackers,
        config.model_dump(mode="json"),
        tracker_variables() if run.trackers else {},
    )
    broker = WeightBroker.options(
        name=f"{run.name}/broker", scheduling_strategy=here, max_restarts=-1
    ).remote()
    pools = ray.put(prepared.train), ray.put(prepared.evaluation)
    coordinator = Coordinator.options(name=f"{run.name}/coordinator", scheduling_strategy=here).remote(
        config, str(folder)
    )
    partners = Partners(posterior, broker, journal, engines, graders)
    return Crew(coordinator, posterior, broker, journal, partners, pools)


def complete(prepared: Prepared, crew: Crew) -> None:
    """Hire the engines beyond those that the run needs to start; each joins when its node has come.

    Does nothing before the learner group has its place, which they would otherwise take. To be called now and then:
    a coordinator that came back after a crash is told of them again.
    """
    rollout = prepared.config.rollout
    try:
        driven = ray.get(crew.coordinator.drives.remote())
    except RayActorError:
        return  # it is being restarted
    if 0 < driven < rollout.engines:
        for number in range(rollout.engines_to_start + len(crew.more_engines), rollout.engines):
            crew.more_engines.append(_engine(prepared, number))
        crew.coordinator.add_engines.remote(crew.more_engines[driven - rollout.engines_to_start :])


def dismiss(crew: Crew) -> None:
    """End the actors now rather than when the last handle is gone."""
    workers = [actor for _, actor in (*crew.partners.engines, *crew.partners.graders, *crew.more_engines)]
    for actor in [crew.coordinator, *workers, crew.posterior, crew.broker, crew.journal]:
        ray.kill(actor)


def _engine(prepared: Prepared, number: int, strategy: Any = "DEFAULT") -> tuple[str, Any]:
    rollout, run, name = prepared.config.rollout, prepared.config.run, f"rollout-{number}"
    actor = RolloutActor.options(
        name=f"{run.name}/{name}",
        num_cpus=rollout.cpus,
        num_gpus=rollout.gpus,
        resources=rollout.resources,
        scheduling_strategy=strategy,
        runtime_env={"env_vars": engine_environment(rollout.threads, rollout.gpus > 0)},
    ).remote(name, prepared.model, rollout, run.seed + number)
    return name, actor


def _grader(prepared: Prepared, number: int) -> tuple[str, Any]:
    grading, name = prepared.config.grading, f"grader-{number}"
    pools = [prepared.train, *([prepared.evaluation] if prepared.evaluation else [])]
    used = sorted({grader for one in pools for grader in one.pool.table["grader"].unique().to_pylist()})
    actor = Grader.options(name=f"{prepared.config.run.name}/{name}", num_cpus=0).remote(
        grading.workers,
        time_limit=grading.timeout_s,
        memory_limit=int(grading.memory_gib * 2**30),
        graders=used,
        unsafe_code_without_sandbox=grading.unsafe_code_without_sandbox,
    )
    return name, actor
