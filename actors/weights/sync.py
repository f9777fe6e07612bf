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
from actors.weights.late_checksum import LateChecksum
from actors.weights.store_copy import StoreCopy
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

    def settle(self) -> None:  # noqa: B027 (most back-ends have nothing to wait for)
        """Wait until an engine that starts now can load what was sent.

        Back-ends whose `send` returns earlier override this, and raise what goes wrong here or in the next `send`.
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
    """Bucket by bucket through Ray's object store, kept by an actor that outlives the learner.

    Works on CPUs and on any number of nodes. The weights lie on the node of rank 0. Every node with engines fetches a
    bucket once, however many engines it has, and an engine that starts later loads the newest weights from there. The
    learner does not wait for the engines.
    """

    def __init__(self, learner: Learner, broker: Any, coordinator: Any) -> None:
        self._learner = learner
        self._broker = broker
        self._coordinator = coordinator
        self._keeper: Any = None
        self._limit = learner.config.timeout_s

    def send(self, version: int) -> str:
        """As `WeightSync.send`. Raises RankTimeout or SyncTimeout, which name what did not respond."""
        checksum = Checksum()
        in_flight: deque[ray.ObjectRef[Any]] = deque()
        for bucket in self._buckets(version):
            if self._broker is None:
                continue
            checksum.add(bucket)
            copies = [(name, tensor.cpu()) for name, tensor in bucket]
            in_flight.append(self._keeper_here(version).publish.remote(version, copies))
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
        return self._learner.weight_buckets(BUCKET_BYTES)

    def _keeper_here(self, version: int) -> Any:
        """The actor that keeps the weights on this node."""
        if self._keeper is None:
            asked = self._broker.keeper.remote(ray.get_runtime_context().get_node_id())
            self._keeper = self._await(asked, "weight broker", f"publishing policy version {version}")
        return self._keeper

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

    Engines pause during a broadcast, and the learner continues when the slowest engine has everything. The object store
    gets the weights afterwards, while the learner continues, for engines that start later. If an engine dies or hangs
    during a broadcast, engines with partly loaded weights restart and load from the store as well. The process group is
    kept while its members are the same.
    """

    def __init__(self, learner: Learner, broker: Any, coordinator: Any) -> None:
        super().__init__(learner, broker, coordinator)
        self._store: Any = None
        self._sender: Sender | None = None
        self._copy = StoreCopy(self._publish, self._published)

    def send(self, version: int) -> str:
        """As `WeightSync.send`. If the store's copy of the version before is not complete, waits for that first.

        Raises RankTimeout or SyncTimeout, which name what did not respond, also in the copy of the version before.
        """
        device = self._learner.engine.device
        # On a CPU the parameters themselves are sent: they do not change before this returns.
        copy = device.type != "cpu"
        if self._coordinator is None:
            for _ in self._learner.weight_buckets(BUCKET_BYTES, device, copy=copy):
                pass
            return ""
        self.settle()
        checksum = LateChecksum()
        sender = self._group_for(version, device.type == "cuda")
        for bucket in self._learner.weight_buckets(BUCKET_BYTES, device, copy=copy):
            sender = sender and _unless_broken(version, partial(sender.send, bucket))
            checksum.add(bucket)
            self._copy.add(bucket)
        digest = checksum.hexdigest()
        self._sender = sender and _unless_broken(version, partial(sender.finish, digest))
        announced = self._coordinator.new_weights.remote(version, digest, False)
        self._await(announced, "coordinator", f"announcing policy version {version}")
        self._copy.start(version)
        return digest

    def settle(self) -> None:
        """As `WeightSync.settle`."""
        self._copy.settle()

    def _publish(self, version: int, bucket: Bucket) -> None:
        published = self._keeper_here(version).publish.remote(version, bucket)
        self._await(published, "weight broker", f"publishing policy version {version}")

    def _published(self, version: int) -> None:
        told = self._coordinator.stored.remote(version)
        self._await(told, "coordinator", f"announcing the stored policy version {version}")

    def _group_for(self, version: int, on_gpu: bool) -> Sender | None:
        """The sender of the group of engines that are invited: the last one's if they are the same."""
        host = ray.util.get_node_ip_address()
        # The other ranks wait up to the limit: a broadcast must fail before that.
        limit = self._limit / 2
        store = self._store = self._store or open_store(host, limit)
        last, self._sender = self._sender, None
        channel = BroadcastChannel(host, store.port, on_gpu, limit, last.number if last else -1)
        seated: BroadcastChannel | None = self._await(
            self._coordinator.invite.remote(version, channel),
            "coordinator",
            f"broadcasting policy version {version}",
        )
        if seated is None:
            return None
        if last is not None and last.number == seated.group:
            return last
        del last
        return _unless_broken(version, lambda: Sender(seated, store))


def _unless_broken(version: int, do: Callable[[], Sender]) -> Sender | None:
    """The result of `do`, or None if the broadcast failed: the object store has the weights for all engines."""
    try:
        return do()
    except RuntimeError as error:
        logger.warning("the broadcast of policy version %d failed: %s", version, error)
        return None
