"""Communication between the ranks of the learner group. All ranks make each of these calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch.distributed as dist

if TYPE_CHECKING:
    from bots.learning.batching import RankBatch

POLL_S = 60.0
"""Seconds between two messages from rank 0 to the ranks that wait with it."""


def wait_with_rank_0(arrived: Callable[[float], bool] | None, every_s: float = POLL_S) -> None:
    """Wait, for any length of time, until something that only rank 0 can see has arrived.

    A collective fails on all ranks if one of them is later than the group's timeout. So rank 0 sends the others a
    message every `every_s` seconds while it waits.

    arrived: on rank 0, blocks for up to the given number of seconds and says whether it has arrived; None elsewhere.
    """
    there = False
    while not there:
        told = [arrived is not None and arrived(every_s)]
        dist.broadcast_object_list(told, src=0)
        there = told[0]


def scatter(rank_batches: list[RankBatch] | None) -> RankBatch:
    """Send each rank its batch of rank 0's list; returns this rank's. rank_batches: None on the other ranks."""
    mine: list[RankBatch | None] = [None]
    dist.scatter_object_list(mine, rank_batches, src=0)
    if mine[0] is None:
        raise RuntimeError("rank 0 sent no batch")
    return mine[0]


def broadcast_flag(flag: bool) -> bool:
    """Rank 0's flag, on all ranks, so that they all take the same branch."""
    told = [flag]
    dist.broadcast_object_list(told, src=0)
    return told[0]
