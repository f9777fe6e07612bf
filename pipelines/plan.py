"""The resource plan: what a run asks of the cluster, checked before anything starts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import ray
from ray.autoscaler.sdk import request_resources

from bots.config import TrainConfig


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
    """What the run asks. Posterior, graders, broker and journal ask nothing: they are idle most of the time."""
    rollout, learner = config.rollout, config.learner
    return [
        Demand(
            "rollout engine", rollout.engines, rollout.cpus, rollout.gpus, "rollout.engines, rollout.cpus"
        ),
        Demand("learner rank", learner.ranks, learner.cpus, learner.gpus, "learner.ranks, learner.cpus"),
    ]


def describe(demands: list[Demand]) -> str:
    """The plan as text, a line each."""
    lines = [f"{d.count} x {d.what}: {d.cpus:g} CPU, {d.gpus:g} GPU each" for d in demands]
    cpus, gpus = _total(demands, "cpus"), _total(demands, "gpus")
    return "\n".join([*lines, f"in all {cpus:g} CPU, {gpus:g} GPU"])


def check(demands: list[Demand], resources: Mapping[str, float]) -> None:
    """Raise ResourceError unless the cluster's resources cover the plan."""
    for kind, name in (("cpus", "CPU"), ("gpus", "GPU")):
        asked, there = _total(demands, kind), resources.get(name, 0.0)
        if asked > there + 1e-9:
            parts = " + ".join(f"{d.count} x {getattr(d, kind):g} ({d.what})" for d in demands)
            keys = "; ".join(d.keys.replace("cpus", kind) for d in demands)
            raise ResourceError(
                f"the run asks for {asked:g} {name} = {parts}; the cluster has {there:g}. Lower {keys}, "
                "or start it on more nodes (run.wait_for_nodes_s waits for an autoscaler)"
            )


def wait_until_possible(demands: list[Demand], seconds: float) -> None:
    """Check the plan against the cluster; an autoscaler gets `seconds` to bring the nodes."""
    deadline = time.monotonic() + seconds
    if seconds:
        bundles = [{"CPU": d.cpus, "GPU": d.gpus} for d in demands for _ in range(d.count)]
        request_resources(bundles=[{k: v for k, v in b.items() if v} for b in bundles])
    while True:
        try:
            return check(demands, ray.cluster_resources())
        except ResourceError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(1)


def _total(demands: list[Demand], kind: str) -> float:
    return sum(d.count * float(getattr(d, kind)) for d in demands)
