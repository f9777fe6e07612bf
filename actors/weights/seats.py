"""Who takes part in a broadcast, and when its process group is a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from actors.weights.channel import BroadcastChannel


class Seats:
    """Numbers the process groups of a run's broadcasts. workers: of each engine; each has its own seat."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._members: list[str] = []
        self._group = 0

    def assign(self, channel: BroadcastChannel, engines: Sequence[str]) -> list[BroadcastChannel]:
        """The channel of the learner's rank 0, followed by one for each engine: that of its first worker.

        channel: with the group that the learner has, if any; it is kept if its members are the same. engines: their
        names; an engine has another after a restart.
        """
        members = [channel.host, str(channel.port), *engines]
        if members != self._members or channel.group != self._group:
            self._members, self._group = members, self._group + 1
        channel = replace(channel, group=self._group)
        size = 1 + self._workers * len(engines)
        seats = [0, *range(1, size, self._workers)]
        return [channel.for_seat(seat, size) for seat in seats]
