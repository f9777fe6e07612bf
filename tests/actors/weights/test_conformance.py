"""Both weight syncs pass their conformance suite, and it finds the faults of broken ones."""

import pytest
import ray

from actors.weights.conformance import (
    CHECKS,
    Stage,
    check_a_silent_coordinator_is_named,
    check_a_version_replaces_the_last,
    check_engines_load_what_was_sent,
    check_other_ranks_take_part,
    check_weights_may_change_after_send,
)
from actors.weights.format import Checksum
from actors.weights.sync import BroadcastSync, ObjectStoreSync


@pytest.fixture(scope="module")
def stage(cluster):
    stage = Stage()
    yield stage
    ray.kill(stage.broker)
    ray.kill(stage.coordinator)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("sync", [ObjectStoreSync, BroadcastSync])
def test_every_weight_sync(sync, check, stage):
    check(sync, stage)


class SkipsABucket(ObjectStoreSync):
    def _buckets(self, version):
        yield from list(super()._buckets(version))[1:]


class SendsTheFirstAgain(ObjectStoreSync):
    def _buckets(self, version):
        self.first = getattr(self, "first", None) or list(super()._buckets(version))
        return iter(self.first)


class Forgets(ObjectStoreSync):
    def send(self, version):
        said = super().send(version)
        ray.get(self._broker.forget.remote())
        return said


class LeavesRanksAlone(ObjectStoreSync):
    def send(self, version):
        return super().send(version) if self._broker is not None else ""


class WaitsForNobody(ObjectStoreSync):
    def send(self, version):
        checksum = Checksum()
        for bucket in self._buckets(version):
            checksum.add(bucket)
            ray.get(self._broker.publish.remote(version, bucket))
        self._coordinator.new_weights.remote(version, checksum.hexdigest())
        return checksum.hexdigest()


@pytest.mark.parametrize(
    ("sync", "check"),
    [
        (SkipsABucket, check_engines_load_what_was_sent),
        (SendsTheFirstAgain, check_a_version_replaces_the_last),
        (Forgets, check_weights_may_change_after_send),
        (LeavesRanksAlone, check_other_ranks_take_part),
        (WaitsForNobody, check_a_silent_coordinator_is_named),
    ],
)
def test_the_suite_finds(sync, check, stage):
    with pytest.raises(AssertionError):
        check(sync, stage)
