"""The resource plan: what a run asks of the cluster, checked before anything starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import ray
from ray.autoscaler.sdk import request_resources
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from bots.config.train import TrainConfig

SETTLING_SECONDS = 15.0
"""How long what other jobs hold may take to come free."""


class ResourceError(RuntimeError):
    """The cluster cannot give what the run asks, with the arithmetic and the keys to lower."""


@dataclass(frozen=True)
class Demand:
    """One kind of process: how many, with how much each, and the keys that say so.

    others: Ray resources that are neither CPUs nor GPUs, by name.
    """

    what: str
    count: int
    cpus: float
    gpus: float
    keys: str
    others: Mapping[str, float] = field(default_factory=dict)

    def each(self, kind: str) -> float:
        """How much of one of Ray's resources one process asks."""
        return {"CPU": self.cpus, "GPU": self.gpus}.get(kind, self.others.get(kind, 0.0))

    @property
    def bundle(self) -> dict[str, float]:
        """What one process asks, as Ray has it."""
        return {kind: self.each(kind) for kind in ("CPU", "GPU", *self.others) if self.each(kind)}


@dataclass(frozen=True)
class Seats:
    """Bundles of a placement group, one for each engine that a run needs to start. first: the index of the first."""

    group: PlacementGroup
    first: int

    def strategy(self, engine: int) -> PlacementGroupSchedulingStrategy:
        """Where the engine of this number goes; if that node dies, Ray moves the bundle, and the engine with it."""
        return PlacementGroupSchedulingStrategy(self.group, self.first + engine)


def plan(config: TrainConfig) -> list[Demand]:
    """What the run asks to start. The other actors ask nothing: they are idle most of the time."""
    return [engines(config), learners(config)]


def engines(config: TrainConfig) -> Demand:
    """The engines that the run needs to start."""
    rollout = config.rollout
    return Demand(
        "rollout engine",
        rollout.engines_to_start,
        rollout.cpus,
        rollout.gpus,
        f"rollout.{'engines' if rollout.min_engines is None else 'min_engines'}, rollout.cpus",
        rollout.resources,
    )


def learners(config: TrainConfig) -> Demand:
    """The learner group."""
    learner = config.learner
    return Demand(
        "learner rank",
        learner.ranks,
        learner.cpus,
        learner.gpus,
        "learner.ranks, learner.cpus",
        learner.resources,
    )


def describe(demands: list[Demand]) -> str:
    """The plan as text, a line each."""
    kinds = _kinds(demands)
    lines = [
        f"{d.count} x {d.what}: {', '.join(f'{d.each(kind):g} {kind}' for kind in kinds)} each"
        for d in demands
    ]
    return "\n".join([*lines, "in all " + ", ".join(f"{_total(demands, kind):g} {kind}" for kind in kinds)])


def check(demands: list[Demand], resources: Mapping[str, float], where: str = "the cluster has") -> None:
    """Raise ResourceError unless the resources cover the plan."""
    for kind in _kinds(demands):
        asked, there = _total(demands, kind), resources.get(kind, 0.0)
        if asked > there + 1e-9:
            asking = [d for d in demands if d.each(kind) or kind in ("CPU", "GPU")]
            parts = " + ".join(f"{d.count} x {d.each(kind):g} ({d.what})" for d in asking)
            key = {"CPU": "cpus", "GPU": "gpus"}.get(kind, "resources")
            keys = "; ".join(d.keys.replace("cpus", key) for d in asking)
            raise ResourceError(
                f"the run asks for {asked:g} {kind} = {parts}; {where} {there:g}. Lower {keys}, "
                "or start it on more nodes (run.wait_for_nodes_s waits for an autoscaler)"
            )


def wait_until_possible(
    demands: list[Demand], seconds: float, settling_seconds: float = SETTLING_SECONDS
) -> None:
    """Check the plan against what the cluster has, and has free.

    seconds: how long an autoscaler may take to bring nodes. settling_seconds: how long what other jobs hold may take
    to come free in any case: a job that has just ended gives its resources back a moment later.
    """
    if seconds:
        request_resources(bundles=[d.bundle for d in demands for _ in range(d.count)])
    _retry(lambda: check(demands, ray.cluster_resources()), seconds)
    free = "the cluster, where other jobs run, has free only"
    _retry(lambda: check(demands, ray.available_resources(), free), max(seconds, settling_seconds))


def stop_asking() -> None:
    """Take back what was asked of an autoscaler: it would keep the nodes for ever, whether they work or not."""
    request_resources(bundles=[])


def _retry(attempt: Callable[[], None], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except ResourceError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.5)


def _kinds(demands: list[Demand]) -> list[str]:
    return ["CPU", "GPU", *sorted({kind for demand in demands for kind in demand.others})]


def _total(demands: list[Demand], kind: str) -> float:
    return sum(d.count * d.each(kind) for d in demands)
