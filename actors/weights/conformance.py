"""Checks that every weight sync must pass. Its author runs them in a test file, with Ray running:

    import pytest
    from actors.weights.conformance import CHECKS, Stage

    @pytest.fixture(scope="module")
    def stage():
        ray.init()
        yield Stage()
        ray.shutdown()

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_sync(check, stage):
        check(lambda learner, broker, coordinator: MySync(learner, broker, coordinator, my_option=3), stage)

The broker is the real one. The learner is one process with two buckets of weights. The engines belong to a stand-in
coordinator and load weights as real engines do: from a broadcast they were invited to, or from the broker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import ray
import torch

from actors.weights.broadcast import Receiver
from actors.weights.broker import WeightBroker
from actors.weights.channel import BroadcastChannel
from actors.weights.format import Bucket, checksum_of
from actors.weights.sync import WeightSync

Factory = Callable[[Any, Any, Any], WeightSync]


class StandInLearner:
    """The part of `actors.learner.Learner` that a weight sync uses. gathered: how often all weights were iterated."""

    def __init__(self, timeout_s: float = 60.0) -> None:
        self.config = SimpleNamespace(timeout_s=timeout_s)
        self.engine = SimpleNamespace(device=torch.device("cpu"))
        self.rank = 0
        self.gathered = 0
        self.weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}

    def weight_buckets(
        self, bucket_bytes: int = 2**20, device: Any = "cpu", copy: bool = True
    ) -> Iterator[Bucket]:
        """The weights, one parameter per bucket; copies, like the real learner's, unless `copy` is False."""
        for name, tensor in self.weights.items():
            yield [(name, tensor.clone() if copy else tensor)] if self.rank == 0 else []
        self.gathered += 1

    def checksum(self) -> str:
        """Checksum of the weights as they are now."""
        return checksum_of([[pair] for pair in self.weights.items()])


@ray.remote(num_cpus=0)
class StandInCoordinator:
    """Two engines that load weights. loaded: for each announced version, the checksum that each engine computed."""

    def __init__(self, broker: Any) -> None:
        self._broker, self._pause = broker, 0.0
        self._group, self._receivers = 0, (Receiver(), Receiver())
        self.begin(0.0)

    def begin(self, pause: float) -> None:
        """Clear what was loaded. pause: seconds that an announcement takes from now on."""
        self._pause = pause
        self.announced: list[tuple[int, str]] = []
        self.loaded: dict[int, list[str]] = {}
        self._receiving: dict[int, list[threading.Thread]] = {}
        self._received: dict[int, list[str]] = {}

    def invite(self, version: int, channel: BroadcastChannel) -> BroadcastChannel:
        """Both engines join a broadcast; see `actors.coordinator.Coordinator.invite`."""
        found = self._received.setdefault(version, [])
        # The same two engines every time: they keep the group unless the learner has none.
        if channel.group < 0 or channel.group != self._group:
            self._group += 1
        channel = replace(channel, group=self._group)
        receivers = enumerate(self._receivers, start=1)
        threads = [
            threading.Thread(
                target=lambda seat=seat, end=end: found.append(
                    checksum_of(end.receive(channel.for_seat(seat, 3)))
                )
            )
            for seat, end in receivers
        ]
        for thread in threads:
            thread.start()
        self._receiving[version] = threads
        return channel.for_seat(0, 3)

    def new_weights(self, version: int, checksum: str, stored: bool = True) -> None:
        """A version is complete: both engines load it; see `actors.coordinator.Coordinator.new_weights`."""
        time.sleep(self._pause)
        self.announced.append((version, checksum))
        for thread in self._receiving.pop(version, []):
            thread.join()
        self.loaded[version] = self._received.pop(version, [])
        if stored:
            self.stored(version)

    def stored(self, version: int) -> None:
        """The broker holds a version: engines that took no part in a broadcast load it."""
        published, buckets = ray.get(self._broker.references.remote())
        if published != version:
            raise RuntimeError(f"the weight broker holds policy version {published}, not {version}")
        self.loaded[version].append(checksum_of(ray.get(buckets)))

    def seen(self) -> tuple[list[tuple[int, str]], dict[int, list[str]]]:
        """Announced versions with their checksums, and the checksums of the loaded weights by version."""
        return self.announced, self.loaded


class Stage:
    """A broker and a stand-in coordinator, shared by all checks: actors take seconds to start."""

    def __init__(self) -> None:
        # According to Ray's annotations, actor classes are plain classes.
        broker, coordinator = cast(Any, WeightBroker), cast(Any, StandInCoordinator)
        self.broker = broker.remote()
        self.coordinator = coordinator.remote(self.broker)

    def begin(self, pause: float = 0.0) -> None:
        """Clear everything that was published and loaded."""
        ray.get([self.broker.forget.remote(), self.coordinator.begin.remote(pause)])


def check_engines_load_what_was_sent(make: Factory, stage: Stage) -> None:
    """Every engine loads exactly the learner's weights, and their checksum is the announced one."""
    stage.begin()
    learner = StandInLearner()
    sync = make(learner, stage.broker, stage.coordinator)
    sent = sync.send(0)
    sync.settle()
    announced, loaded = ray.get(stage.coordinator.seen.remote())
    if announced != [(0, sent)]:
        raise AssertionError(f"version 0 was sent with checksum {sent}, but announced were {announced}")
    if set(loaded[0]) != {sent} or sent != learner.checksum():
        raise AssertionError(f"the learner has {learner.checksum()}, sent {sent}; engines loaded {loaded[0]}")


def check_a_version_replaces_the_last(make: Factory, stage: Stage) -> None:
    """Each of several versions brings its own weights."""
    stage.begin()
    learner = StandInLearner()
    sync = make(learner, stage.broker, stage.coordinator)
    sent = []
    for version in range(3):
        learner.weights["a"] += 1
        sent.append((version, sync.send(version)))
    sync.settle()
    announced, loaded = ray.get(stage.coordinator.seen.remote())
    if announced != sent or len({checksum for _, checksum in sent}) != 3:
        raise AssertionError(f"sent were {sent}, announced {announced}")
    wrong = [version for version, checksum in sent if set(loaded[version]) != {checksum}]
    if wrong:
        raise AssertionError(f"engines loaded other weights than those of the versions {wrong}")


def check_weights_may_change_after_send(make: Factory, stage: Stage) -> None:
    """An engine that loads later gets what was sent, even if the learner has changed its weights since."""
    stage.begin()
    learner = StandInLearner()
    sync = make(learner, stage.broker, stage.coordinator)
    sent = sync.send(5)
    for tensor in learner.weights.values():
        tensor += 1
    sync.settle()
    version, buckets = ray.get(stage.broker.references.remote())
    late = checksum_of(ray.get(buckets))
    if (version, late) != (5, sent):
        raise AssertionError(
            f"an engine that starts later loads version {version} with {late}; sent was 5 with {sent}"
        )


def check_other_ranks_take_part(make: Factory, stage: Stage) -> None:
    """A rank without handles takes part in the gather, once, and returns no checksum; otherwise other ranks hang."""
    learner = StandInLearner()
    learner.rank = 1
    said = make(learner, None, None).send(0)
    if said != "" or learner.gathered != 1:
        raise AssertionError(
            f"rank 1 returned {said!r} and gathered the weights {learner.gathered} times; '' and 1 are due"
        )


def check_a_silent_coordinator_is_named(make: Factory, stage: Stage) -> None:
    """If the coordinator does not respond within the learner's limit, a TimeoutError names it."""
    stage.begin(pause=4.0)
    learner = StandInLearner(timeout_s=2.0)
    try:
        make(learner, stage.broker, stage.coordinator).send(0)
    except TimeoutError as error:
        if "coordinator" not in str(error):
            raise AssertionError(f"the error does not name the coordinator: {error}") from error
    else:
        raise AssertionError("send returned though the coordinator did not answer")
    finally:
        stage.begin()


CHECKS = (
    check_engines_load_what_was_sent,
    check_a_version_replaces_the_last,
    check_weights_may_change_after_send,
    check_other_ranks_take_part,
    check_a_silent_coordinator_is_named,
)
"""All checks, in order."""
