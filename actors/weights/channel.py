"""The address of a weight broadcast. Without torch, which takes a second to import, for code that only passes it on."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class BroadcastChannel:
    """Where a policy version is broadcast.

    host, port: of rank 0's store. on_gpu: over NCCL. timeout_s: for each operation. seat, size: rank in the group,
    the learner's rank 0 being 0, and number of its members.
    """

    host: str
    port: int
    on_gpu: bool
    timeout_s: float
    seat: int = 0
    size: int = 1

    def for_seat(self, seat: int, size: int) -> BroadcastChannel:
        """The channel as one member sees it."""
        return replace(self, seat=seat, size=size)
