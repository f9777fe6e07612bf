"""A fake engine: the interface of the rollout actor with a known latency law and no model.

It stands in for engines at a scale, or at a failure rate, that real ones would need many GPUs for.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from actors.rollout import Collected
from bots.rollouts.request import Request, RequestKey
from bots.rollouts.rollout import Rollout

_EARLY = 1e-6
"""Seconds by which timers may fire early. Without this tolerance there may be nothing to do and nothing to wait for."""


@dataclass(frozen=True)
class Law:
    """Completion lengths are log-normal: median tokens, sigma of the logarithm, capped at the request's limit.

    tokens_per_second: of each completion or, if shared, of the whole engine, as on a CPU, where completions slow each
    other down. slots: completions that run at a time; None: all. A group is done when its longest completion is.
    Every completion is right with probability one half.
    """

    median: float = 40.0
    sigma: float = 0.8
    tokens_per_second: float = 400.0
    slots: int | None = None
    shared: bool = False


@dataclass(eq=False)
class _Group:
    """A request in progress. left: its unfinished completions. begun: whether any of them has started."""

    key: RequestKey
    rollouts: list[Rollout]
    left: int
    begun: bool = False


class FakeEngine:
    """Generates by the law, whatever the prompt. The same seed gives the same lengths and rewards."""

    def __init__(self, name: str, law: Law, start_seconds: float = 0.0) -> None:
        self.name, self.law, self.start_seconds = name, law, start_seconds
        self.version = -1
        self.checksum = ""
        self.steps = 0
        self.busy = self.tokens = self.completion_seconds = 0.0
        self._changed: asyncio.Event | None = None
        self._forget("")

    def _forget(self, turn: str) -> None:
        self.turn = turn
        self._clock = 0.0
        # Tokens of a completion that has run from the start; `_running` has the number at which each is done.
        self._grown = 0.0
        self._running: list[tuple[float, int, _Group]] = []
        self._queue: deque[tuple[_Group, int]] = deque()
        self._done: list[_Group] = []
        self._partial = self._count = self._told = 0

    async def pid(self) -> int:
        return os.getpid()

    async def ready(self) -> tuple[str, int]:
        await asyncio.sleep(self.start_seconds)
        return self.name, 0

    async def begin(self, turn: str) -> None:
        self._forget(turn)
        self._wake()

    async def submit(self, turn: str, requests: Sequence[Request]) -> None:
        if turn != self.turn:
            return
        self._advance()
        for request in requests:
            rollouts = self._sample(request)
            group = _Group(request.key, rollouts, len(rollouts))
            self._queue += [(group, len(rollout.token_ids)) for rollout in rollouts]
        self._admit()
        self._wake()

    async def give_back(self, turn: str, count: int) -> list[RequestKey]:
        if turn != self.turn:
            return []
        self._advance()
        given = {id(group): group for group in self._unbegun()[-count:]}
        self._queue = deque((group, length) for group, length in self._queue if id(group) not in given)
        self._told = len(self._unbegun())
        return [group.key for group in given.values()]

    async def collect(self, turn: str, seconds: float) -> Collected:
        self._changed = self._changed or asyncio.Event()
        until = self._now() + seconds
        while turn == self.turn and until - self._now() > _EARLY:
            self._advance()
            if self._done or len(self._unbegun()) != self._told:
                break
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(until, self._next()) - self._now())
        self.steps += 1
        done: list[_Group] = []
        if turn == self.turn:
            done, self._done = self._done, []
            self._told = len(self._unbegun())
        open_groups = {id(group) for group in (*(g for *_, g in self._running), *(g for g, _ in self._queue))}
        return Collected(
            [(group.key, group.rollouts) for group in done],
            self.steps,
            self.busy,
            len(open_groups),
            early_completions=self._partial,
            unbegun=self._told,
            tokens=int(self.tokens),
            completion_seconds=self.completion_seconds,
        )

    async def load(self, buckets: list[ray.ObjectRef], version: int) -> tuple[str, str, float]:
        (self.checksum,) = await asyncio.gather(*buckets)
        self.version = version
        return self.name, self.checksum, 0.0

    def change(self, law: Law) -> None:
        """From now on generate by this law, which has as many slots."""
        self._advance()
        self.law = law
        self._wake()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _rate(self) -> float:
        return self.law.tokens_per_second / (max(1, len(self._running)) if self.law.shared else 1)

    def _next(self) -> float:
        """When the next completion is done."""
        if not self._running:
            return math.inf
        return self._clock + (self._running[0][0] - self._grown) / self._rate()

    def _advance(self) -> None:
        """Let the completions grow until now."""
        now = self._now()
        while self._running and self._next() <= now + _EARLY:
            at = min(now, self._next())
            self._work(at - self._clock)
            end, _, group = heapq.heappop(self._running)
            self._clock, self._grown = at, end
            group.left -= 1
            self._partial += 1
            if not group.left:
                self._partial -= len(group.rollouts)
                self._done.append(group)
            self._admit()
        if self._running:
            self._work(now - self._clock)
            self._grown += (now - self._clock) * self._rate()
        self._clock = now

    def _work(self, seconds: float) -> None:
        """Count this time and its tokens."""
        running = len(self._running)
        self.busy += seconds
        self.completion_seconds += running * seconds
        self.tokens += running * self._rate() * seconds

    def _admit(self) -> None:
        while self._queue and len(self._running) < (self.law.slots or math.inf):
            group, length = self._queue.popleft()
            group.begun = True
            self._count += 1
            heapq.heappush(self._running, (self._grown + length, self._count, group))

    def _unbegun(self) -> list[_Group]:
        return list({id(group): group for group, _ in self._queue if not group.begun}.values())

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()

    def _sample(self, request: Request) -> list[Rollout]:
        rng = np.random.default_rng(request.seed)
        sampling = request.sampling
        lengths = self.law.median * np.exp(self.law.sigma * rng.standard_normal(sampling.samples))
        right = rng.random(sampling.samples) < 0.5
        return [
            Rollout(
                token_ids=np.zeros(length, np.int32),
                logprobs=np.zeros(length, np.float32),
                text="1" if good else "0",
                finished=True,
                version=self.version,
                weights=self.checksum,
                engine=self.name,
            )
            for length, good in zip(np.clip(lengths, 1, sampling.max_tokens).astype(int), right, strict=True)
        ]


FakeEngineActor = ray.remote(num_cpus=0, max_restarts=-1)(FakeEngine)


@ray.remote(num_cpus=0)
class Host:
    """Many fake engines in one process."""

    def __init__(self, names: Sequence[str], law: Law) -> None:
        self.engines = [FakeEngine(name, law) for name in names]

    async def call(self, number: int, method: str, *arguments: Any) -> Any:
        return await getattr(self.engines[number], method)(*arguments)


class Hosted:
    """Stands for one engine of a host: `hosted.method.remote(…)` as with an actor's handle."""

    def __init__(self, host: Any, number: int) -> None:
        self.host, self.number = host, number

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        return _Method(self.host, self.number, method)


@dataclass(frozen=True)
class _Method:
    host: Any
    number: int
    method: str

    def remote(self, *arguments: Any) -> ray.ObjectRef:
        return self.host.call.remote(self.number, self.method, *arguments)


class Local:
    """Stands for an actor's handle in this process: `local.method.remote(…)` is a task of the running event loop."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        return _Call(getattr(self.engine, method))


@dataclass(frozen=True)
class _Call:
    function: Any

    def remote(self, *arguments: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self.function(*arguments))


def hosted(engines: int, law: Law, hosts: int) -> list[tuple[str, Hosted]]:
    """Names and handles of so many engines, spread over so many processes."""
    names = [f"engine-{i}" for i in range(engines)]
    found = []
    for h in range(min(hosts, engines)):
        mine = names[h::hosts]
        host = Host.remote(mine, law)
        found += [(name, Hosted(host, i)) for i, name in enumerate(mine)]
    return found
