"""The weight broker owns the newest weights in the object store, so that they outlive the learner."""

from __future__ import annotations

from typing import Any, cast

import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


# Without this variable, Ray pickles the tensors and every engine copies the whole model.
@ray.remote(num_cpus=0, runtime_env={"env_vars": {"RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1"}})
class WeightBroker:
    """Holds one policy version. An object put by a learner rank would be lost with that rank.

    What an actor puts lies in the memory of its node. A run's broker is on the driver's node, which may be small, so on
    a learner's node it has a *keeper*: another actor of this class, to which the learner publishes.
    """

    def __init__(self) -> None:
        self.version = -1
        self.buckets: list[ray.ObjectRef[Any]] = []
        # The learner's node, and the keeper there; None if that node is this one.
        self._keeper: tuple[str, Any] = "", None

    def keeper(self, node: str) -> Any:
        """The actor to publish to from a node: this one if it is there, or else its keeper on that node.

        A new keeper starts empty, and what was kept elsewhere is dropped.
        """
        here = ray.get_runtime_context()
        if node != self._keeper[0]:
            self.forget()
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            away = node != here.get_node_id()
            started = cast(Any, WeightBroker).options(scheduling_strategy=there).remote() if away else None
            self._keeper = node, started
        return self._keeper[1] or here.current_actor

    def publish(self, version: int, bucket: Any) -> None:
        """Add one bucket of (name, tensor) pairs. The first bucket of a new version drops the old version."""
        if version != self.version:
            self.version, self.buckets = version, []
        self.buckets.append(ray.put(bucket))

    def forget(self) -> None:
        """Drop everything: a restarted learner group may publish a version that is (partly) here already."""
        # Without a handle to it, Ray ends the keeper.
        self.version, self.buckets, self._keeper = -1, [], ("", None)

    def references(self) -> tuple[int, list[ray.ObjectRef[Any]]]:
        """The newest version and references to its buckets; version -1 if there is none, or its node was lost."""
        # Not a coroutine: with one, Ray no longer keeps the order of calls, and the checksum needs that of buckets.
        _, keeper = self._keeper
        if keeper is None:
            return self.version, self.buckets
        try:
            found: tuple[int, list[ray.ObjectRef[Any]]] = ray.get(keeper.references.remote())
            return found
        except RayActorError:
            return -1, []
