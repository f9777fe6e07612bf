"""Turns: population-based training keeps all trials alive, but only a limited number may run a job."""

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
    """Gives out a limited number of turns. One that is not renewed expires, because its holder has died.

    This actor creates and removes the placement group of a turn. If a trial created it and was then killed, Ray would
    keep the group until the sweep ends.
    """

    def __init__(self, at_a_time: int, lease_seconds: float = LEASE_SECONDS) -> None:
        self.at_a_time, self.lease_seconds = at_a_time, lease_seconds
        self.renewed: dict[str, float] = {}
        self.groups: dict[str, PlacementGroup] = {}

    def take(self, name: str) -> bool:
        """Take or renew a turn; False if all are taken."""
        now = time.monotonic()
        for holder in [one for one, at in self.renewed.items() if now - at >= self.lease_seconds]:
            self.give(holder)
        if name not in self.renewed and len(self.renewed) >= self.at_a_time:
            return False
        self.renewed[name] = now
        return True

    def group(self, name: str, bundles: Sequence[dict[str, float]]) -> PlacementGroup:
        """A placement group for the duration of a turn; its resources may still be pending."""
        if name not in self.groups:
            # Group names are unique, and groups of a killed sweep may still exist when it is resumed.
            once = f"{name}/engines/{uuid4().hex[:8]}"
            self.groups[name] = placement_group(list(bundles), name=once)
        return self.groups[name]

    def give(self, name: str) -> None:
        """Return a turn."""
        self.renewed.pop(name, None)
        if group := self.groups.pop(name, None):
            remove_placement_group(group)


@contextmanager
def turn(turns: Any, name: str, bundles: Sequence[dict[str, float]]) -> Iterator[PlacementGroup | None]:
    """Wait for a turn and return it at the end. The holder renews it with `take`.

    Yields the placement group of the bundles; None if there are none.
    """
    while not ray.get(turns.take.remote(name)):
        time.sleep(POLL_SECONDS)
    try:
        yield ray.get(turns.group.remote(name, bundles)) if bundles else None
    finally:
        ray.get(turns.give.remote(name))
