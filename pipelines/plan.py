"""The resource plan: what a run asks of the cluster, checked before anything starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ray
from ray.autoscaler.sdk import request_resources

from bots.config import TrainConfig

_SETTLING_SECONDS = 15.0


class ResourceError(RuntimeError):
    """The cluster cannot give what the run asks, with the arithmetic and the keys to lower."""


@dataclass(frozen=True)
class Demand:
    """One kind of process: how many, with how much each, and the keys that say so."""

    what: str
    count: int
    cpus: float
    gpus: float
    keys: str


def plan(config: TrainConfig) -> list[Demand]:
    """What the run asks to start. The other actors ask nothing: they are idle most of the time."""
    rollout, learner = config.rollout, config.learner
    return [
        Demand(
            "rollout engine",
            rollout.engines_to_start,
            rollout.cpus,
            rollout.gpus,
            f"rollout.{'engines' if rollout.min_engines is None else 'min_engines'}, rollout.cpus",
        ),
        Demand("learner rank", learner.ranks, learner.cpus, learner.gpus, "learner.ranks, learner.cpus"),
    ]


def describe(demands: list[Demand]) -> str:
    """The plan as text, a line each."""
    lines = [f"{d.count} x {d.what}: {d.cpus:g} CPU, {d.gpus:g} GPU each" for d in demands]
    cpus, gpus = _total(demands, "cpus"), _total(demands, "gpus")
    return "\n".join([*lines, f"in all {cpus:g} CPU, {gpus:g} GPU"])


def check(demands: list[Demand], resources: Mapping[str, float], where: str = "the cluster has") -> None:
    """Raise ResourceError unless the resources cover the plan."""
    for kind, name in (("cpus", "CPU"), ("gpus", "GPU")):
        asked, there = _total(demands, kind), resources.get(name, 0.0)
        if asked > there + 1e-9:
            parts = " + ".join(f"{d.count} x {getattr(d, kind):g} ({d.what})" for d in demands)
            keys = "; ".join(d.keys.replace("cpus", kind) for d in demands)
            raise ResourceError(
                f"the run asks for {asked:g} {name} = {parts}; {where} {there:g}. Lower {keys}, "
                "or start it on more nodes (run.wait_for_nodes_s waits for an autoscaler)"
            )


def wait_until_possible(demands: list[Demand], seconds: float) -> None:
    """Check the plan against what the cluster has, and has free.

    seconds: how long an autoscaler may take to bring nodes. What other jobs hold gets a little time to come
    free in any case: a job that has just ended gives its resources back a moment later.
    """
    if seconds:
        bundles = [{"CPU": d.cpus, "GPU": d.gpus} for d in demands for _ in range(d.count)]
        request_resources(bundles=[{k: v for k, v in b.items() if v} for b in bundles])
    _retry(lambda: check(demands, ray.cluster_resources()), seconds)
    free = "the cluster, where other jobs run, has free only"
    _retry(lambda: check(demands, ray.available_resources(), free), max(seconds, _SETTLING_SECONDS))


def _retry(attempt: Callable[[], None], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except ResourceError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.5)


def _total(demands: list[Demand], kind: str) -> float:
    return sum(d.count * float(getattr(d, kind)) for d in demands)
