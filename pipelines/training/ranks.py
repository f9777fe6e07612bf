"""What the ranks of the learner group tell one another in the training loop; all of them make each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch.distributed as dist

if TYPE_CHECKING:
    from bots.learning.batching import RankBatch

WORD_S = 60.0
"""Seconds between two words of rank 0 to the ranks that wait with it."""


def wait_together(arrived: Callable[[float], bool] | None, every_s: float = WORD_S) -> None:
    """Wait until something that only rank 0 sees has arrived, however long that takes.

    A collective that one rank comes to late breaks off after the group's limit, and the group with it. So rank 0
    tells the others every `every_s` seconds that it still waits.

    arrived: on rank 0 says within so many seconds whether it is there; None on the others.
    """
    there = False
    while not there:
        told = [arrived is not None and arrived(every_s)]
        dist.broadcast_object_list(told, src=0)
        there = told[0]


def scatter(shards: list[RankBatch] | None) -> RankBatch:
    """Rank 0's shards, one to each rank."""
    mine: list[RankBatch | None] = [None]
    dist.scatter_object_list(mine, shards, src=0)
    if mine[0] is None:
        raise RuntimeError("rank 0 sent no shard")
    return mine[0]


def heard_by_all(word: bool) -> bool:
    """Rank 0's word, so that no rank goes on alone."""
    told = [word]
    dist.broadcast_object_list(told, src=0)
    return told[0]
