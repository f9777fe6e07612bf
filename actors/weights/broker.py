"""The weight broker owns the newest weights in the object store, so that they outlive the learner."""

from __future__ import annotations

from typing import Any

import ray


# Without this variable, Ray pickles the tensors and every engine copies the whole model.
@ray.remote(num_cpus=0, runtime_env={"env_vars": {"RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1"}})
class WeightBroker:
    """Holds one policy version. An object put by a learner rank would be lost with that rank."""

    def __init__(self) -> None:
        self.version = -1
        self.buckets: list[ray.ObjectRef[Any]] = []

    def publish(self, version: int, bucket: Any) -> None:
        """Add one bucket of (name, tensor) pairs. The first bucket of a new version drops the old version."""
        if version != self.version:
            self.version, self.buckets = version, []
        self.buckets.append(ray.put(bucket))

    def forget(self) -> None:
        """Drop everything: a restarted learner group may publish a version that is (partly) here already."""
        self.version, self.buckets = -1, []

    def references(self) -> tuple[int, list[ray.ObjectRef[Any]]]:
        """The newest version and references to its buckets."""
        return self.version, self.buckets
