"""Weight sync, the learner's side: how a policy version gets from the ranks to the engines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray.exceptions import GetTimeoutError

from actors.weight_format import Bucket, Checksum

if TYPE_CHECKING:
    from actors.learner import Learner

BUCKET_BYTES = 64 * 2**20
# Buckets on their way to the broker: one travels while the next is gathered.
_IN_FLIGHT = 2


class SyncTimeout(TimeoutError):
    """An actor that did not take its part of new weights in time, by name, with the phase."""


class WeightSync(Protocol):
    """A back-end. All ranks construct and call it together."""

    def send(self, version: int) -> str:
        """Hand the learner's present weights to the engines as policy version `version`; their checksum.

        When this returns, the learner may change its weights. Engines load between two of their own steps, and
        answers that they are in the midst of go on under the new weights. Only rank 0 gets the checksum.
        """


class ObjectStoreSync:
    """Bucket by bucket through Ray's object store, kept by a broker that outlives the learner.

    Right on CPUs and on any number of nodes: every node fetches a bucket once, whatever its engines, and an
    engine that starts later finds the newest weights there. The learner does not wait for the engines.

    broker: the WeightBroker, and announce(version, checksum): tells who drives the engines and returns a
    reference to its answer; both None on the other ranks than 0.
    """

    def __init__(
        self, learner: Learner, broker: Any, announce: Callable[[int, str], ray.ObjectRef] | None
    ) -> None:
        self._learner = learner
        self._broker = broker
        self._announce = announce
        self._limit = learner.config.timeout_s

    def send(self, version: int) -> str:
        """As `WeightSync.send`. Raises RankTimeout or SyncTimeout with the name of who did not answer."""
        checksum = Checksum()
        under_way: deque[ray.ObjectRef] = deque()
        for bucket in self._learner.weight_buckets(BUCKET_BYTES):
            if self._broker is None:
                continue
            checksum.add(bucket)
            under_way.append(self._publish(version, bucket))
            if len(under_way) == _IN_FLIGHT:
                self._await(under_way.popleft(), "weight broker", f"publishing policy version {version}")
        if self._announce is None:
            return ""
        for reference in under_way:
            self._await(reference, "weight broker", f"publishing policy version {version}")
        digest = checksum.hexdigest()
        self._await(self._announce(version, digest), "coordinator", f"announcing policy version {version}")
        return digest

    def _publish(self, version: int, bucket: Bucket) -> ray.ObjectRef:
        return self._broker.publish.remote(version, bucket)

    def _await(self, reference: ray.ObjectRef, who: str, phase: str) -> None:
        try:
            ray.get(reference, timeout=self._limit)
        except GetTimeoutError:
            raise SyncTimeout(
                f"{phase}: no answer from the {who} within learner.timeout_s = {self._limit:g} s; it hangs, or "
                "the object store is full and slow to spill (`ray memory` shows what it holds)"
            ) from None
