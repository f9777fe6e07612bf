"""A watch over the learner's ranks: which one is silent or has not come, by its number and node.

A collective operation that one rank never enters keeps the others inside, in C++ or on a GPU, where no exception
reaches them and nobody is named. So each rank tells the others, through the group's key-value store, that it lives and
how far it has come, and works in a thread that can be left behind. That serves gloo and NCCL alike.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


class RankTimeout(TimeoutError):
    """A rank that hangs or is gone, by number and node, and the phase in which it was waited for."""


@dataclass
class _Heard:
    """What a rank last told. quiet: this rank's pauses since."""

    beat: int = -1
    arrivals: int = 0
    phase: str = "the start"
    node: str = "a node unknown"
    left: bool = False
    quiet: int = 0


class RankWatch:
    """One rank's watch over the others; all ranks make one, in an initialised `torch.distributed` group.

    limit_s: silence, or time to wait for one, after which a rank is taken for lost. node: this rank's, for messages.
    """

    def __init__(self, limit_s: float, node: str = "") -> None:
        self.limit_s = limit_s
        self._rank, self._size = dist.get_rank(), dist.get_world_size()
        self._pause = min(1.0, limit_s / 10)
        # A connection of its own: on the group's own one, a call that waits would hold up the others.
        self._store = dist.PrefixStore("watch", dist.distributed_c10d._get_default_store().clone())
        self._mine = _Heard(node=node)
        # All under rank 0's eyes, and rank 0 under theirs: with thousands of ranks everyone's would be too many.
        self._others = {rank: _Heard() for rank in (range(1, self._size) if self._rank == 0 else [0])}
        self._ended = threading.Event()

    def arrive(self, phase: str) -> None:
        """Note that this rank has come to a place to which all come; it is in `phase` from now on."""
        self._mine.arrivals += 1
        self._mine.phase = phase

    def late(self) -> str:
        """The ranks that have not come to where this one is, as far as they told; empty if none is known."""
        told = {rank: self._ask(rank) for rank in range(self._size) if rank != self._rank}
        return "; ".join(
            f"rank {rank} on {other.node} has not come, it {'ended' if other.left else 'is'} in {other.phase!r}"
            for rank, other in told.items()
            if other and other.arrivals < self._mine.arrivals
        )

    def run(self, work: Callable[[], T]) -> T:
        """Do `work`, and return or raise as it does; the ranks run together, each its own.

        Raises RankTimeout as soon as another rank has been silent for the limit; `work` is then left where it is, in
        most cases in a collective operation, and only the process's end ends it.
        """
        if self._size == 1:
            return work()
        done: Future[T] = Future()

        def into() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 (raised by `run`)
                done.set_exception(error)

        beating = threading.Thread(target=self._beat, name="beat", daemon=True)
        beating.start()
        threading.Thread(target=into, name="rank", daemon=True).start()
        while wait([done], self._pause).not_done:
            if silent := self._silent():
                raise RankTimeout(
                    f"{self._mine.phase}: {silent} within learner.timeout_s = {self.limit_s:g} s: it hangs, or its "
                    "node is out of reach"
                )
        # Whoever ends is silent from now on, and is not to be missed.
        self._ended.set()
        beating.join(self.limit_s)
        return done.result()

    def _ask(self, rank: int) -> _Heard | None:
        """What a rank told last, if it ever did."""
        if not self._store.check([str(rank)]):
            return None
        return _Heard(*json.loads(self._store.get(str(rank))))

    def _silent(self) -> str:
        """The silent ranks. Time is counted in own pauses: to a rank that was stopped itself, all would look silent."""
        limit = self.limit_s / self._pause
        for other in self._others.values():
            other.quiet += 1
        return "; ".join(
            f"rank {rank} on {other.node} did not answer, last heard of in {other.phase!r},"
            for rank, other in self._others.items()
            if not other.left and other.quiet > limit
        )

    def _beat(self) -> None:
        """Tell and hear, round by round, in a thread of its own: a store whose process is stopped never returns."""
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
            # The store is gone, and rank 0 with it, which is silent from now on; if Ray is not quicker, `run` names it.
            return
