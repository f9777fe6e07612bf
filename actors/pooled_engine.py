"""The engine pool's record of one engine."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayTaskError

from actors.rollout import Collected
from bots.config.train import RolloutConfig
from bots.rollouts.request import Request, RequestKey
from bots.rollouts.speeds import Pace

LOSSES_TO_BE_ALONE = 3
"""Engine losses of a request before it gets an engine to itself.

Fewer happen by chance on spot nodes, where each lost engine counts against all its requests.
"""


@dataclass(frozen=True)
class Weights:
    """A policy version. buckets: in the object store; None while only those have it that took part in its broadcast."""

    version: int
    buckets: list[ray.ObjectRef[Any]] | None
    checksum: str


@dataclass(eq=False)
class PooledEngine:
    """One engine, across restarts.

    - version: policy version that it holds; None while it is not up.
    - open: its requests.
    - completions: total completions of those requests.
    - early: finished completions that wait in the engine for the rest of their group.
    - unbegun: requests that it has not started.
    - busy_seconds: time spent in engine steps, across all restarts.
    - pace, speed: what its reports say since it started, and its speed relative to the other engines.
    - slow_starts: consecutive starts that exceeded the time limit. Each doubles the limit for the next start: killing
      an engine does not make it start sooner on a busy machine.
    """

    name: str
    actor: Any
    number: int
    version: int | None = None
    up: bool = False
    turn: str = ""
    open: dict[RequestKey, Request] = field(default_factory=dict)
    outbox: list[Request] = field(default_factory=list)
    completions: int = 0
    early: int = 0
    unbegun: int = 0
    steps: int = -1
    progressed: float = 0.0
    lost: float = field(default_factory=time.monotonic)
    starting: bool = False
    slow_starts: int = 0
    busy_seconds: float = 0.0
    pace: Pace = field(default_factory=Pace)
    speed: float = 1.0
    receiving: tuple[int, Any] = (-1, None)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    outdated: asyncio.Event = field(default_factory=asyncio.Event)
    wanted_back: int = 0
    overfull: asyncio.Event = field(default_factory=asyncio.Event)
    _told: tuple[int, float, float, int] | None = None

    @property
    def load(self) -> int:
        """Completions it has yet to generate."""
        return self.completions - self.early

    @property
    def isolated(self) -> bool:
        """Whether it has a request that must have an engine to itself."""
        return any(
            request.losses >= LOSSES_TO_BE_ALONE for request in itertools.islice(self.open.values(), 1)
        )

    def give(self, request: Request) -> None:
        """Add a request to those to submit."""
        self.open[request.key] = request
        self.outbox.append(request)
        self.completions += request.sampling.samples
        self.news.set()

    def take(self, key: RequestKey) -> Request:
        """Remove a request."""
        request = self.open.pop(key)
        self.completions -= request.sampling.samples
        return request

    def hear(self, told: Collected, now: float) -> int:
        """Update this record from the engine's report; returns the tokens to compute again since the last one."""
        recomputed = 0
        total = told.tokens, told.busy_seconds, told.completion_seconds, told.recomputed
        if self._told is not None:
            tokens, busy, completion_seconds, recomputed = np.subtract(total, self._told).tolist()
            self.busy_seconds += busy
            self.pace.add(tokens, busy, completion_seconds)
        self._told = total
        self.early, self.unbegun = told.early_completions, told.unbegun
        if told.steps != self.steps or not told.unfinished:
            self.steps, self.progressed = told.steps, now
        return int(recomputed)

    def reset(self) -> None:
        """Clear its requests and its report: it is lost or starts over."""
        self.up, self.version, self.steps = False, None, -1
        self.open, self.outbox = {}, []
        self.completions = self.early = self.unbegun = self.wanted_back = 0
        self.receiving = -1, None
        self._told = None
        self.pace, self.speed = Pace(), 1.0
        for event in (self.news, self.outdated, self.overfull):
            event.clear()


def first_line(error: BaseException) -> str:
    """The first line of an error, or of its cause in an actor."""
    text = str(error.cause if isinstance(error, RayTaskError) and error.cause else error)
    return next(iter(text.strip().splitlines()), type(error).__name__)


def why_lost(error: BaseException, timeout_s: float) -> str:
    """What happened to an engine, from the error that a call of it raised."""
    what = "hangs: no response" if isinstance(error, TimeoutError) and not str(error) else "is lost"
    return f"{what}: {first_line(error)}" if str(error) else f"{what} within {timeout_s:g} s"


def patience(config: RolloutConfig, engines: Sequence[PooledEngine]) -> float:
    """Seconds without any engine before the run ends; longer while an engine that was slow to start retries.

    That engine may use up each of its start limits, and `timeout_s` for each new process.
    """
    slow = [engine.slow_starts for engine in engines if engine.starting or engine.slow_starts]
    start_limit = config.starting_s[0]
    if not slow:
        return max(config.timeout_s, start_limit)
    starts = max(slow) + 1
    return start_limit * (2.0**starts - 1) + config.timeout_s * starts
