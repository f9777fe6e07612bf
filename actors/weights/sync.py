"""Weight sync, the learner's side: sends a policy version from the ranks to the engines."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError

from actors.weights.broadcast import Sender, open_store
from actors.weights.channel import BroadcastChannel
from actors.weights.format import Bucket, Checksum
from bots.support.registry import check_options, load_class, make

if TYPE_CHECKING:
    from actors.learner import Learner
    from bots.config.train import LearnerConfig

logger = logging.getLogger(__name__)
BUCKET_BYTES = 64 * 2**20
# Buckets in transit to the broker: one is sent while the next is gathered.
_IN_FLIGHT = 2


class SyncTimeout(TimeoutError):
    """An actor did not accept new weights in time; gives the actor and the phase."""


class WeightSync(ABC):
    """A back-end, constructed as `cls(learner, broker, coordinator, **options)`.

    All ranks construct and call it together. broker, coordinator: the actors that keep the weights and drive the
    engines; None on ranks other than 0.
    """

    @abstractmethod
    def __init__(self, learner: Learner, broker: Any, coordinator: Any) -> None: ...

    @abstractmethod
    def send(self, version: int) -> str:
        """Send the learner's current weights to the engines as policy version `version`; returns their checksum.

        Once this returns, the learner may change its weights. Engines load between two of their own steps, and
        completions in progress continue under the new weights. Only rank 0 gets the checksum.
        """


def check_weight_sync(config: LearnerConfig) -> None:
    """Raise ValueError unless `weight_sync` names a back-end that takes `weight_sync_options`."""
    name = config.weight_sync
    cls = load_class("weight_sync", name, WeightSync)  # type: ignore[type-abstract]
    check_options("weight_sync", name, cls, (None, None, None), config.weight_sync_options)


def weight_sync_of(learner: Learner, broker: Any, coordinator: Any) -> WeightSync:
    """The back-end that `learner.weight_sync` names; broker and coordinator are None on ranks other than 0."""
    config = learner.config
    arguments = (learner, broker, coordinator)
    return make("weight_sync", config.weight_sync, WeightSync, arguments, config.weight_sync_options)  # type: ignore[type-abstract]


class ObjectStoreSync(WeightSync):
    """Bucket by bucket through Ray's object store, kept by a broker that outlives the learner.

    Works on CPUs and on any number of nodes. Every node fetches a bucket once, however many engines it has, and an
    engine that starts later loads the newest weights from there. The learner does not wait for the engines.
    """

    def __init__(self, learner: Learner, broker: Any, coordinator: Any) -> None:
        self._learner = learner
        self._broker = broker
        self._coordinator = coordinator
        self._limit = learner.config.timeout_s

    def send(self, version: int) -> str:
        """As `WeightSync.send`. Raises RankTimeout or SyncTimeout, which name what did not respond."""
        checksum = Checksum()
        in_flight: deque[ray.ObjectRef[Any]] = deque()
        for bucket in self._buckets(version):
            if self._broker is None:
                continue
            checksum.add(bucket)
            in_flight.append(self._broker.publish.remote(version, bucket))
            if len(in_flight) == _IN_FLIGHT:
                self._await(in_flight.popleft(), "weight broker", f"publishing policy version {version}")
        if self._coordinator is None:
            return ""
        for reference in in_flight:
            self._await(reference, "weight broker", f"publishing policy version {version}")
        digest = checksum.hexdigest()
        announced = self._coordinator.new_weights.remote(version, digest)
        self._await(announced, "coordinator", f"announcing policy version {version}")
        return digest

    def _buckets(self, version: int) -> Iterator[Bucket]:
        """The new weights on the CPU."""
        return self._learner.weight_buckets(BUCKET_BYTES)

    def _await(self, reference: ray.ObjectRef[Any], who: str, phase: str) -> Any:
        try:
            return ray.get(reference, timeout=self._limit)
        except GetTimeoutError:
            raise SyncTimeout(
                f"{phase}: no answer from the {who} within learner.timeout_s = {self._limit:g} s; it hangs, or "
                "the object store is full and slow to spill (`ray memory` shows what it holds)"
            ) from None


class BroadcastSync(ObjectStoreSync):
    """A broadcast to all engines that are up, over NCCL between GPUs and gloo between CPUs.

    The object store gets the weights too, for engines that start later. If an engine dies or hangs during a broadcast,
    engines with partly loaded weights restart and load from the store as well. Engines pause during a broadcast, and
    the learner continues when the slowest engine has everything.
    """

    def _buckets(self, version: int) -> Iterator[Bucket]:
        device = self._learner.engine.device
        buckets = self._learner.weight_buckets(BUCKET_BYTES, device)
        if self._coordinator is None:
            yield from buckets
            return
        host = ray.util.get_node_ip_address()
        # The other ranks wait up to the limit: a broadcast must fail before that.
        store = open_store(host, self._limit / 2)
        channel = BroadcastChannel(host, store.port, device.type == "cuda", self._limit / 2)
        engines = self._await(
            self._coordinator.invite.remote(version, channel),
            "coordinator",
            f"broadcasting policy version {version}",
        )
        sender = None
        if engines:
            seated = channel.for_seat(0, engines + 1)
            sender = _unless_broken(version, lambda: Sender(seated, store))
        for bucket in buckets:
            sender = sender and _unless_broken(version, partial(sender.send, bucket))
            yield [(name, tensor.cpu()) for name, tensor in bucket]
        if sender:
            _unless_broken(version, sender.finish)


def _unless_broken(version: int, do: Callable[[], Sender]) -> Sender | None:
    """The result of `do`, or None if the broadcast failed: the object store has the weights for all engines."""
    try:
        return do()
    except RuntimeError as error:
        logger.warning("the broadcast of policy version %d failed: %s", version, error)
        return None
