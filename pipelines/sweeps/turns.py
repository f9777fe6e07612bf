"""Turns at the cluster: population-based training keeps all its trials alive, and only so many may run a job."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

LEASE_SECONDS = 60.0
POLL_SECONDS = 0.5


@ray.remote(num_cpus=0)
class Turns:
    """Hands out so many turns at a time; one that is not renewed comes free, since its holder has died.

    A turn's placement group is made and removed in here: Ray would keep one that a trial made itself until the whole
    sweep ends, if the trial is killed.
    """

    def __init__(self, at_a_time: int, lease_seconds: float = LEASE_SECONDS) -> None:
        self.at_a_time, self.lease_seconds = at_a_time, lease_seconds
        self.renewed: dict[str, float] = {}
        self.groups: dict[str, PlacementGroup] = {}

    def take(self, name: str) -> bool:
        """Take or renew a turn; False: all are taken."""
        now = time.monotonic()
        for holder in [one for one, at in self.renewed.items() if now - at >= self.lease_seconds]:
            self.give(holder)
        if name not in self.renewed and len(self.renewed) >= self.at_a_time:
            return False
        self.renewed[name] = now
        return True

    def group(self, name: str, bundles: Sequence[dict[str, float]]) -> PlacementGroup:
        """A placement group for as long as a turn lasts; it may have to wait for its resources."""
        if name not in self.groups:
            # No two groups may have one name, and those of a sweep that was killed may still be there when it goes on.
            once = f"{name}/engines/{uuid4().hex[:8]}"
            self.groups[name] = placement_group(list(bundles), name=once)
        return self.groups[name]

    def give(self, name: str) -> None:
        """Give a turn back."""
        self.renewed.pop(name, None)
        if group := self.groups.pop(name, None):
            remove_placement_group(group)


@contextmanager
def turn(turns: Any, name: str, bundles: Sequence[dict[str, float]]) -> Iterator[PlacementGroup | None]:
    """Wait for a turn, and give it back at the end. The holder renews it with `take`.

    Gives the placement group of the bundles; None where there are none.
    """
    while not ray.get(turns.take.remote(name)):
        time.sleep(POLL_SECONDS)
    try:
        yield ray.get(turns.group.remote(name, bundles)) if bundles else None
    finally:
        ray.get(turns.give.remote(name))
