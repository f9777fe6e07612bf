"""Turns at the cluster: population-based training keeps all its trials alive, and only so many may run a job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

LEASE_SECONDS = 60.0
POLL_SECONDS = 0.5


@ray.remote(num_cpus=0)
class Turns:
    """Hands out so many turns at a time; one that is not renewed comes free, since its holder has died."""

    def __init__(self, at_a_time: int, lease_seconds: float = LEASE_SECONDS) -> None:
        self.at_a_time, self.lease_seconds = at_a_time, lease_seconds
        self.renewed: dict[str, float] = {}

    def take(self, name: str) -> bool:
        """Take or renew a turn; False: all are taken."""
        now = time.monotonic()
        self.renewed = {holder: at for holder, at in self.renewed.items() if now - at < self.lease_seconds}
        if name not in self.renewed and len(self.renewed) >= self.at_a_time:
            return False
        self.renewed[name] = now
        return True

    def give(self, name: str) -> None:
        """Give a turn back."""
        self.renewed.pop(name, None)


@contextmanager
def turn(turns: Any | None, name: str) -> Iterator[None]:
    """Wait for a turn, and give it back at the end; None: no waiting. The holder renews it with `take`."""
    if turns is None:
        yield
        return
    while not ray.get(turns.take.remote(name)):
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        ray.get(turns.give.remote(name))
