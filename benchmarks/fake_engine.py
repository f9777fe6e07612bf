"""A fake engine: the rollout actor's calls with a stated latency law and no model.

For what must be seen at a scale, or at a rate of failures, that no machine at hand has engines for.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from actors.rollout import Collected
from bots.rollouts.request import Request, RequestKey
from bots.rollouts.rollout import Rollout


@dataclass(frozen=True)
class Law:
    """Lengths of answers are log-normal: median tokens, sigma of the logarithm, never above the request's limit.

    A group completes when its longest answer does, at `tokens_per_second` for each answer however many run.
    The first token says whether the answer is right, each with probability one half.
    """

    median: float = 40.0
    sigma: float = 0.8
    tokens_per_second: float = 400.0


class FakeEngine:
    """Answers by the law, whatever the prompt; a seed gives the same lengths and rewards again."""

    def __init__(self, name: str, law: Law, start_seconds: float = 0.0) -> None:
        self.name, self.law, self.start_seconds = name, law, start_seconds
        self.turn = ""
        self.version = -1
        self.checksum = ""
        self.steps = 0
        self.busy = 0.0
        self._idle_since = time.monotonic()
        self._running: list[tuple[float, int, RequestKey, list[Rollout]]] = []
        self._count = 0
        self._changed: asyncio.Event | None = None

    async def pid(self) -> int:
        return os.getpid()

    async def ready(self) -> tuple[str, int]:
        await asyncio.sleep(self.start_seconds)
        return self.name, 0

    async def begin(self, turn: str) -> None:
        self.turn = turn
        self._running = []
        self._wake()

    async def submit(self, turn: str, requests: Sequence[Request]) -> None:
        if turn != self.turn:
            return
        now = time.monotonic()
        for request in requests:
            rollouts = self._answer(request)
            longest = max(len(rollout.token_ids) for rollout in rollouts)
            self._count += 1
            done = now + longest / self.law.tokens_per_second
            heapq.heappush(self._running, (done, self._count, request.key, rollouts))
        self._wake()

    async def collect(self, turn: str, seconds: float) -> Collected:
        self._changed = self._changed or asyncio.Event()
        until = time.monotonic() + seconds
        while turn == self.turn and (now := time.monotonic()) < until:
            if self._running and self._running[0][0] <= now:
                break
            next_one = self._running[0][0] if self._running else until
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), min(until, next_one) - now)
            except TimeoutError:
                continue
        groups = []
        self.steps += 1
        while turn == self.turn and self._running and self._running[0][0] <= time.monotonic():
            _, _, key, rollouts = heapq.heappop(self._running)
            groups.append((key, rollouts))
        return Collected(groups, self.steps, self.busy, len(self._running))

    async def load(self, buckets: list[ray.ObjectRef], version: int) -> tuple[str, str, float]:
        (self.checksum,) = await asyncio.gather(*buckets)
        self.version = version
        return self.name, self.checksum, 0.0

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()

    def _answer(self, request: Request) -> list[Rollout]:
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


def hosted(engines: int, law: Law, hosts: int) -> list[tuple[str, Hosted]]:
    """Names and handles of so many engines, spread over so many processes."""
    names = [f"engine-{i}" for i in range(engines)]
    found = []
    for h in range(min(hosts, engines)):
        mine = names[h::hosts]
        host = Host.remote(mine, law)
        found += [(name, Hosted(host, i)) for i, name in enumerate(mine)]
    return found
