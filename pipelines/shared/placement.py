"""Reserves places for learner ranks, engines and graders, where a cluster has several nodes.

Actors are placed one by one, wherever there is room. Engines that start first can then leave a rank without a node, or
spread the ranks over more nodes than they need. So the ranks' places are reserved first, together, and then those of
the engines. The ranks' places are released just before Ray Train asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from bots.config.train import TrainConfig
from pipelines.shared.resources import Demand, EngineBundles, ResourceError, engines, graders, learners


@dataclass
class Places:
    """Reserved places of a run: of its ranks until `release_learners`, of its engines and graders until its end.

    engines, graders: None where they ask for nothing.
    """

    learners: PlacementGroup | None = None
    engines: EngineBundles | None = None
    graders: EngineBundles | None = None

    def release_learners(self) -> None:
        """Give the ranks' places back; the engines have theirs, so Ray Train finds the same ones."""
        if self.learners is not None:
            remove_placement_group(self.learners)
            self.learners = None


@contextmanager
def places(
    config: TrainConfig, seconds: float, engine_bundles: EngineBundles | None = None
) -> Iterator[Places]:
    """Reserve the places of a run; nothing on a single node, where every order of placement is as good.

    seconds: how long to wait for them; an autoscaler may add nodes meanwhile. engine_bundles: places of the engines
    that the caller has reserved; nothing is reserved then.
    Raises ResourceError, with what the nodes have free, if ranks or engines can't be placed.
    """
    if engine_bundles or sum(node["Alive"] for node in ray.nodes()) < 2:
        yield Places(engines=engine_bundles)
        return
    groups: list[PlacementGroup] = []
    try:
        ranks = learners(config)
        reserved = Places(_reserve([ranks], groups, seconds))
        others = [engines(config), graders(config)]
        group = _reserve(others, groups, seconds)
        if group is not None:
            first = others[0].count if others[0].bundle else 0
            reserved.engines = EngineBundles(group, 0) if others[0].bundle else None
            reserved.graders = EngineBundles(group, first) if others[1].bundle else None
        yield reserved
    finally:
        for group in groups:
            remove_placement_group(group)


def _reserve(demands: list[Demand], groups: list[PlacementGroup], seconds: float) -> PlacementGroup | None:
    """A placement group with a bundle for each process that asks for something; None if none does."""
    bundles = [demand.bundle for demand in demands for _ in range(demand.count) if demand.bundle]
    if not bundles:
        return None
    group: PlacementGroup = placement_group(bundles, strategy="PACK")
    groups.append(group)
    if group.wait(seconds):
        return group
    asked = " and ".join(f"{d.count} x {d.what} of {_text(d.bundle)}" for d in demands if d.bundle)
    raise ResourceError(
        f"the cluster has enough in all, but no room for {asked}: each must fit on one node. Free on its nodes: "
        f"{'; '.join(_free_by_node())}. Lower {', '.join(d.keys for d in demands if d.bundle)}, or add nodes "
        "(run.wait_for_nodes_s waits for an autoscaler)"
    )


def _free_by_node() -> list[str]:
    """What each node has free, as text."""
    available = ray._private.state.available_resources_per_node()
    return [
        f"{node['NodeManagerAddress']} {_text(available.get(node['NodeID'], {}))}"
        for node in ray.nodes()
        if node["Alive"]
    ]


def _text(bundle: Mapping[str, float]) -> str:
    """CPUs, GPUs and custom resources, without what Ray counts for itself."""
    own = ("memory", "object_store_memory", "node:", "accelerator_type:")
    kept = {k: v for k, v in sorted(bundle.items()) if v and not k.startswith(own) and "_group_" not in k}
    return ", ".join(f"{amount:g} {kind}" for kind, amount in kept.items()) or "nothing"
