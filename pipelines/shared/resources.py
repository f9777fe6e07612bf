"""The resource plan: what a run needs from the cluster, checked before anything starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import ray
import torch
from ray._private.utils import get_num_cpus
from ray.autoscaler.sdk import request_resources
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from bots.config.train import TrainConfig
from pipelines.shared.autoscaler import hopeless

RELEASE_SECONDS = 15.0
"""How long to wait for resources that other jobs still hold."""


SURE_SECONDS = 3.0
"""How long an autoscaler must keep saying that no node will come: a cluster that has just started knows few nodes."""


class ResourceError(RuntimeError):
    """The cluster lacks resources for the run; the message shows the arithmetic and the keys to lower."""


@dataclass(frozen=True)
class Demand:
    """Resources of one kind of process: count, amounts per process, and the configuration keys that set them.

    others: custom Ray resources, by name.
    """

    what: str
    count: int
    cpus: float
    gpus: float
    keys: str
    others: Mapping[str, float] = field(default_factory=dict)

    def each(self, kind: str) -> float:
        """Amount of one Ray resource per process."""
        return {"CPU": self.cpus, "GPU": self.gpus}.get(kind, self.others.get(kind, 0.0))

    @property
    def bundle(self) -> dict[str, float]:
        """Resources of one process, as Ray writes them."""
        return {kind: self.each(kind) for kind in ("CPU", "GPU", *self.others) if self.each(kind)}


@dataclass(frozen=True)
class EngineBundles:
    """Placement group bundles for the engines that a run needs to start, or its graders. first: index of the first."""

    group: PlacementGroup
    first: int

    def strategy(self, engine: int) -> PlacementGroupSchedulingStrategy:
        """Scheduling strategy of one engine or grader. If its node dies, Ray moves both."""
        return PlacementGroupSchedulingStrategy(self.group, self.first + engine)


def plan(config: TrainConfig) -> list[Demand]:
    """Resources the run needs to start. The other actors reserve none: they are idle most of the time."""
    return [engines(config), learners(config), *_asking(graders(config))]


def engines(config: TrainConfig) -> Demand:
    """Demand of the engines that the run needs to start."""
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
    """Demand of the learner group."""
    learner = config.learner
    return Demand(
        "learner rank",
        learner.ranks,
        learner.cpus,
        learner.gpus,
        "learner.ranks, learner.cpus",
        learner.resources,
    )


def graders(config: TrainConfig) -> Demand:
    """Demand of the graders; by default they reserve nothing."""
    grading = config.grading
    return Demand("grader", grading.actors, grading.cpus, 0.0, "grading.actors, grading.cpus")


def _asking(demand: Demand) -> list[Demand]:
    return [demand] if demand.bundle else []


def describe(demands: list[Demand]) -> str:
    """The plan as text, one line per demand."""
    kinds = _kinds(demands)
    lines = [
        f"{d.count} x {d.what}: {', '.join(f'{d.each(kind):g} {kind}' for kind in kinds)} each"
        for d in demands
    ]
    return "\n".join([*lines, "in all " + ", ".join(f"{_total(demands, kind):g} {kind}" for kind in kinds)])


def this_machine() -> dict[str, float]:
    """What a local Ray would offer here."""
    return {"CPU": float(get_num_cpus()), "GPU": float(torch.cuda.device_count())}


def check(demands: list[Demand], resources: Mapping[str, float], where: str = "the cluster has") -> None:
    """Raise ResourceError unless the resources cover the plan."""
    for kind in _kinds(demands):
        asked, there = _total(demands, kind), resources.get(kind, 0.0)
        if asked > there + 1e-9:
            asking = [d for d in demands if d.each(kind) or kind in ("CPU", "GPU")]
            parts = " + ".join(f"{d.count} x {d.each(kind):g} ({d.what})" for d in asking)
            key = {"CPU": "cpus", "GPU": "gpus"}.get(kind, "resources")
            keys = "; ".join(d.keys.replace("cpus", key) for d in asking)
            apart = (
                " (a learner rank and an engine can't share one, see docs/gpu.md)" if kind == "GPU" else ""
            )
            raise ResourceError(
                f"the run asks for {asked:g} {kind} = {parts}; {where} {there:g}{apart}. Lower {keys}, "
                "or start it on more nodes (run.wait_for_nodes_s waits for an autoscaler)"
            )


def wait_for_resources(
    demands: list[Demand], seconds: float, release_seconds: float = RELEASE_SECONDS, by_hand: bool = False
) -> None:
    """Wait until the cluster has the resources, and has them free. Raises ResourceError if it does not in time.

    seconds: how long an autoscaler may take to add nodes. release_seconds: the least time to wait for free
    resources: a job that has just ended releases its resources a moment later. by_hand: wait also where no
    autoscaler can bring what is missing, since someone adds nodes.
    """
    if seconds:
        request_resources(bundles=[d.bundle for d in demands for _ in range(d.count)])
    _retry(
        lambda: check(demands, ray.cluster_resources()),
        seconds,
        give_up=(lambda: None) if by_hand else hopeless,
    )
    free = "other jobs run on the cluster, which has free only"
    _retry(lambda: check(demands, ray.available_resources(), free), max(seconds, release_seconds))


def cancel_request() -> None:
    """Cancel the request to the autoscaler, which would otherwise keep the nodes forever, used or not."""
    request_resources(bundles=[])


def _retry(
    attempt: Callable[[], None], seconds: float, give_up: Callable[[], str | None] = lambda: None
) -> None:
    """give_up: why trying on is in vain, if it is; believed when it says so twice, `SURE_SECONDS` apart."""
    deadline = time.monotonic() + seconds
    in_vain_since: float | None = None
    while True:
        try:
            return attempt()
        except ResourceError as error:
            now = time.monotonic()
            if now >= deadline:
                raise
            reason = give_up()
            in_vain_since = (in_vain_since or now) if reason else None
            if in_vain_since is not None and now - in_vain_since >= SURE_SECONDS:
                raise ResourceError(
                    f"{error}; waiting would be in vain: {reason}. If you add nodes yourself, set "
                    "run.nodes_join_by_hand=true"
                ) from None
            time.sleep(0.5)


def _kinds(demands: list[Demand]) -> list[str]:
    return ["CPU", "GPU", *sorted({kind for demand in demands for kind in demand.others})]


def _total(demands: list[Demand], kind: str) -> float:
    return sum(d.count * d.each(kind) for d in demands)
