"""Watches the learner's ranks: names the rank that is silent or late, with its node.

If one rank never enters a collective operation, the others hang in it, in C++ or on a GPU, where no exception reaches
them and nothing tells which rank is missing. So each rank reports through the group's key-value store that it is alive
and how far it has got, and does its work in a thread that can be abandoned. This works for gloo and NCCL.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore

T = TypeVar("T")
TIMED_OUT = ("timed out waiting", "collective operation timeout")
"""What gloo and NCCL say when a collective has reached its group's limit, in lower case."""
MISSED_BEATS = 5
"""Reports missed in a row after which a rank is called silent where an error is explained; it is not lost yet."""


class RankTimeout(TimeoutError):
    """A rank hangs or is gone, or a collective operation hangs; gives ranks, their nodes and phases."""


@dataclass
class _Heard:
    """A rank's last report. quiet: pauses of this rank since then."""

    beat: int = -1
    arrivals: int = 0
    phase: str = "the start"
    node: str = "a node unknown"
    left: bool = False
    quiet: int = 0


class RankWatch:
    """One rank's watch over the others. All ranks create one, in an initialised `torch.distributed` group.

    limit_s: a rank counts as lost after this many seconds of silence or delay. node: this rank's node, for messages.
    """

    def __init__(self, limit_s: float, node: str = "") -> None:
        self.limit_s = limit_s
        self._rank, self._size = dist.get_rank(), dist.get_world_size()
        self._pause = min(1.0, limit_s / 10)
        # A separate connection: a blocking call on the group's own would hold up all others.
        store: Any = dist.distributed_c10d._get_default_store()
        self._store = PrefixStore("watch", store.clone())
        self._mine = _Heard(node=node)
        # Rank 0 watches all, and all watch rank 0: all watching all would not scale to thousands of ranks.
        self._others = {rank: _Heard() for rank in (range(1, self._size) if self._rank == 0 else [0])}
        self._ended = threading.Event()

    def arrive(self, phase: str) -> None:
        """Record that this rank has reached a meeting point of all ranks and is now in `phase`."""
        self._mine.arrivals += 1
        self._mine.phase = phase

    def late(self) -> str:
        """The ranks known to be behind this one; empty if there are none."""
        told = {rank: self._ask(rank) for rank in range(self._size) if rank != self._rank}
        return "; ".join(
            f"rank {rank} on {other.node} has not come, it {'ended' if other.left else 'is'} in {other.phase!r}"
            for rank, other in told.items()
            if other and other.arrivals < self._mine.arrivals
        )

    def run(self, work: Callable[[], T]) -> T:
        """Run `work` and return its result or raise its error; all ranks call this together.

        Raises RankTimeout as soon as another rank has been silent for the limit. `work` is then abandoned, usually in a
        collective operation, and ends only with the process. Where all ranks answer, a collective operation ends by its
        group's own limit; RankTimeout then says where the others are.
        """
        if self._size == 1:
            return work()
        done: Future[T] = Future()

        def into() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 (raised by `run`)
                # Here, since the store may not answer: `run` goes on counting meanwhile.
                done.set_exception(self._with_places(error))

        beating = threading.Thread(target=self._beat, name="beat", daemon=True)
        beating.start()
        threading.Thread(target=into, name="rank", daemon=True).start()
        while wait([done], self._pause).not_done:
            if silent := self._silent():
                raise RankTimeout(
                    f"{self._mine.phase}: {silent} within learner.timeout_s = {self.limit_s:g} s: it hangs, or its "
                    "node is out of reach"
                )
        # This rank goes silent now and must not count as lost.
        self._ended.set()
        beating.join(self.limit_s)
        return done.result()

    def _with_places(self, error: BaseException) -> BaseException:
        """The error; for a collective operation's time limit, one that says where the ranks are."""
        if not isinstance(error, RuntimeError) or not any(said in str(error).lower() for said in TIMED_OUT):
            return error
        told = RankTimeout(
            f"{self._mine.phase}: a collective operation did not end within learner.collective_timeout_s: "
            f"{self._places()}"
        )
        told.__cause__ = error
        return told

    def _places(self) -> str:
        silent = "; ".join(
            f"rank {rank} on {other.node} has been silent for {other.quiet * self._pause:.0f} s, last heard of in "
            f"{other.phase!r}"
            for rank, other in self._others.items()
            if other.quiet > MISSED_BEATS and not other.left
        )
        # Only ranks that answer are asked: if rank 0 is silent, so is the store.
        return (
            silent
            or self.late()
            or "all ranks answer and have come as far, so it hangs in one of them or between"
        )

    def _ask(self, rank: int) -> _Heard | None:
        """A rank's last report, or None."""
        if not self._store.check([str(rank)]):
            return None
        return _Heard(*json.loads(self._store.get(str(rank))))

    def _silent(self) -> str:
        """The silent ranks. Time is counted in own pauses: if this rank was stopped itself, all would look silent."""
        limit = self.limit_s / self._pause
        for other in self._others.values():
            other.quiet += 1
        return "; ".join(
            f"rank {rank} on {other.node} did not answer, last heard of in {other.phase!r},"
            for rank, other in self._others.items()
            if not other.left and other.quiet > limit
        )

    def _beat(self) -> None:
        """Send and read reports in a loop, in a separate thread: a call to a stopped store never returns."""
        try:
            while True:
                last = self._ended.is_set()
                mine = self._mine
                mine.beat += 1
                told = [mine.beat, mine.arrivals, mine.phase, mine.node, last]
                self._store.set(str(self._rank), json.dumps(told))
                for rank, other in self._others.items():
                    heard = self._ask(rank)
                    if heard and heard.beat != other.beat:
                        self._others[rank] = heard
                if last:
                    return
                self._ended.wait(self._pause)
        except RuntimeError:
            # The store is gone, and rank 0 with it. It is silent from now on, and `run` names it unless Ray is faster.
            return
