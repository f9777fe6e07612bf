"""The weight broker: it owns the newest weights in the object store, so that they outlive the learner."""

from __future__ import annotations

import ray


# Without the variable Ray would pickle the tensors, and every engine would have to copy the whole model out.
@ray.remote(num_cpus=0, runtime_env={"env_vars": {"RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1"}})
class WeightBroker:
    """Keeps one policy version. A reference put by a learner rank would die with that rank."""

    def __init__(self) -> None:
        self.version = -1
        self.buckets: list[ray.ObjectRef] = []

    def publish(self, version: int, bucket: list) -> None:
        """Add one bucket of (name, tensor) pairs; the first of a new version drops the old one."""
        if version != self.version:
            self.version, self.buckets = version, []
        self.buckets.append(ray.put(bucket))

    def forget(self) -> None:
        """Drop everything: a learner group that starts anew may publish a version that is here, or half of it."""
        self.version, self.buckets = -1, []

    def references(self) -> tuple[int, list[ray.ObjectRef]]:
        """The newest version and its buckets."""
        return self.version, self.buckets
