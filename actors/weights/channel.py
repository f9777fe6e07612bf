"""The address of a weight broadcast. No torch import, which takes a second, for code that only passes it on."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class BroadcastChannel:
    """Where a policy version is broadcast.

    - host, port: address of rank 0's store.
    - on_gpu: whether it runs over NCCL.
    - timeout_s: limit for each operation.
    - group: number of the process group; members keep a group for all versions while its number stays the same.
    - seat, size: rank in the group and number of members; seat 0 is the learner's rank 0.
    """

    host: str
    port: int
    on_gpu: bool
    timeout_s: float
    group: int = -1
    seat: int = 0
    size: int = 1

    def for_seat(self, seat: int, size: int) -> BroadcastChannel:
        """The channel as seen by one member."""
        return replace(self, seat=seat, size=size)
