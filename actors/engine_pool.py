"""The engine pool: keeps every engine filled with the longest-waiting requests, and outlives each of them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from actors.weights.channel import Channel
from actors.within import within
from bots.config.train import RolloutConfig
from bots.rollouts.request import Request, RequestKey
from bots.rollouts.rollout import Rollout

_POLL_SECONDS = 2.0
_RETRY_SECONDS = 0.5
_MOST_FAILURES = 3
# Fewer would be mere chance on spot nodes, where each engine that goes takes all its requests along.
_LOSSES_TO_BE_ALONE = 3


class EngineError(RuntimeError):
    """No engine can be had, with the last reason and the key that sets the limit."""


@dataclass(frozen=True)
class Weights:
    """A policy version as it lies in the object store."""

    version: int
    buckets: list[ray.ObjectRef]
    checksum: str


@dataclass(eq=False)
class _Engine:
    """One engine, through all its lives.

    version: policy version that it holds; None while it is not up. open: requests it has. load: answers that
    it has to generate.
    """

    name: str
    actor: Any
    number: int
    version: int | None = None
    up: bool = False
    turn: str = ""
    open: dict[RequestKey, Request] = field(default_factory=dict)
    outbox: list[Request] = field(default_factory=list)
    load: int = 0
    steps: int = -1
    progressed: float = 0.0
    lost: float = field(default_factory=time.monotonic)
    busy_seconds: float | None = None
    receiving: tuple[int, Any] = (-1, None)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    outdated: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def isolated(self) -> bool:
        """Whether it has a request that it is to answer alone."""
        return any(
            request.losses >= _LOSSES_TO_BE_ALONE for request in itertools.islice(self.open.values(), 1)
        )


class EnginePool:
    """Drives the rollout actors from an event loop.

    begun(key, version): an engine holding `version` got the request. answered(key, rollouts): it is complete.
    refused(key, reason): no engine can answer it.
    lost(name, reason, requests) → those that are to be tried again. joined(name, seconds): an engine took its first
    weights, that long after it was lost, hired or cleared. failed(error): there is no engine any more.

    New weights are loaded between two steps of an engine, without waiting for its requests: those that run
    go on under the new weights (see `Engine.load`). An engine gets new requests only while it holds the newest
    version. One that dies, hangs or fails is restarted, loads the newest weights and is used again; its
    requests go to the front of the queue. A request over which three engines were lost is given to an engine that
    has nothing else, and nothing else is given to that one: if it is what ends them, it ends no other's answers.
    """

    def __init__(
        self,
        config: RolloutConfig,
        begun: Callable[[RequestKey, int], None],
        answered: Callable[[RequestKey, list[Rollout]], None],
        refused: Callable[[RequestKey, str], None],
        lost: Callable[[str, str, Sequence[Request]], Iterable[Request]],
        joined: Callable[[str, float], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.config = config
        self._begun, self._answered, self._refused, self._lost = begun, answered, refused, lost
        self._joined, self._failed = joined, failed
        # A few more than run at a time, so that a place that comes free is taken at the next engine step.
        self._limit = config.max_num_seqs + max(config.samples, config.max_num_seqs // 8)
        self._engines: list[_Engine] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._waiting: deque[Request] = deque()
        self._suspects: deque[Request] = deque()
        self._weights: Weights | None = None
        self._turns = itertools.count()
        self._name = uuid.uuid4().hex[:8]
        self._fruitless = 0
        self._last_of_use = time.monotonic()
        self._last_reason = ""
        self.losses = 0
        self.busy_seconds = 0.0
        self.load_seconds = 0.0

    @property
    def up(self) -> int:
        """Engines that answer."""
        return sum(engine.up for engine in self._engines)

    @property
    def waiting(self) -> int:
        """Requests that no engine has yet."""
        return len(self._waiting) + len(self._suspects)

    @property
    def running(self) -> int:
        """Requests that engines have."""
        return sum(len(engine.open) for engine in self._engines)

    def add(self, engines: Iterable[tuple[str, Any]]) -> None:
        """Take more engines, by name and handle; each is used as soon as it is up."""
        for name, actor in engines:
            engine = _Engine(name, actor, len(self._engines))
            self._engines.append(engine)
            self._start(engine)
        if "watch" not in self._tasks:
            self._watch_anew()

    def submit(self, requests: Iterable[Request], first: bool = False) -> None:
        """Queue requests; `first`: before all that wait."""
        others: list[Request] = []
        for request in requests:
            (self._suspects if request.losses >= _LOSSES_TO_BE_ALONE else others).append(request)
        if first:
            self._waiting.extendleft(reversed(others))
        else:
            self._waiting.extend(others)
        self._fill()

    def set_weights(self, weights: Weights) -> None:
        """Have every engine load these, each between two of its steps; returns at once."""
        self._weights = weights
        self.load_seconds = 0.0
        for engine in self._engines:
            engine.outdated.set()

    def invite(self, version: int, channel: Channel) -> int:
        """Have the engines that are up join a broadcast of the weights to come; returns how many they are.

        `set_weights` of the same version must follow. An engine that is not up then loads from the object store.
        """
        invited = [engine for engine in self._engines if engine.up]
        for seat, engine in enumerate(invited, start=1):
            seated = channel.for_seat(seat, len(invited) + 1)
            engine.receiving = version, engine.actor.receive.remote(seated, version)
        return len(invited)

    def clear(self) -> None:
        """Forget all requests, here and in the engines, and how often or how long engines have failed."""
        self._waiting.clear()
        self._suspects.clear()
        self._weights = None
        self._fruitless = 0
        for engine in self._engines:
            self._tasks[engine.name].cancel()
            self._reset(engine)
            engine.lost = time.monotonic()
            self._start(engine)
        self._watch_anew()

    def _watch_anew(self) -> None:
        # It ends with what it reports, and whoever heard that may have begun again since.
        if "watch" in self._tasks:
            self._tasks["watch"].cancel()
        self._last_of_use = time.monotonic()
        self._tasks["watch"] = asyncio.create_task(self._watch())

    def _start(self, engine: _Engine) -> None:
        task = asyncio.create_task(self._serve(engine), name=engine.name)
        task.add_done_callback(self._check)
        self._tasks[engine.name] = task

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    async def _serve(self, engine: _Engine) -> None:
        """An engine's lives, one after the other."""
        while True:
            error: BaseException | None = None
            try:
                await self._join(engine)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._collect(engine))
                    group.create_task(self._hand_in(engine))
                    group.create_task(self._follow_weights(engine))
            except* (RayError, TimeoutError, EngineError) as errors:
                error = errors.exceptions[0]
            if error is not None:
                await self._lose(engine, error)

    async def _join(self, engine: _Engine) -> None:
        # As long as its node takes to come: until then the actor is pending.
        while True:
            try:
                await within(self.config.timeout_s, engine.actor.pid.remote())
                break
            except TimeoutError:
                continue
            except RayActorError as error:
                self._last_reason = f"{engine.name}: {_first_line(error)}"
                await asyncio.sleep(_RETRY_SECONDS)
        engine.turn = f"{self._name}-{next(self._turns)}"
        try:
            await within(self.config.timeout_s, engine.actor.ready.remote())
        except TimeoutError:
            raise TimeoutError(
                f"its start takes longer than rollout.timeout_s = {self.config.timeout_s:g} s; if it only needs "
                "longer, set more"
            ) from None
        await within(self.config.timeout_s, engine.actor.begin.remote(engine.turn))
        engine.up = True
        engine.progressed = time.monotonic()
        if self._weights is not None:
            engine.outdated.set()

    async def _collect(self, engine: _Engine) -> None:
        limit = self.config.timeout_s
        while True:
            told = await within(
                limit + _POLL_SECONDS, engine.actor.collect.remote(engine.turn, _POLL_SECONDS)
            )
            now = time.monotonic()
            if engine.busy_seconds is not None:
                self.busy_seconds += told.busy_seconds - engine.busy_seconds
            engine.busy_seconds = told.busy_seconds
            for key, rollouts in told.groups:
                request = engine.open.pop(key)
                engine.load -= request.sampling.samples
                self._answered(key, rollouts)
            for key, reason in told.refused:
                request = engine.open.pop(key)
                engine.load -= request.sampling.samples
                self._refused(key, reason)
            if told.steps != engine.steps or not told.unfinished:
                engine.steps, engine.progressed = told.steps, now
            elif now - engine.progressed > limit:
                raise TimeoutError(f"{told.unfinished} requests, and no engine step for {limit:g} s")
            self._fill()

    async def _hand_in(self, engine: _Engine) -> None:
        while True:
            await engine.news.wait()
            engine.news.clear()
            requests, engine.outbox = engine.outbox, []
            if requests:
                await within(self.config.timeout_s, engine.actor.submit.remote(engine.turn, requests))

    async def _follow_weights(self, engine: _Engine) -> None:
        while True:
            await engine.outdated.wait()
            engine.outdated.clear()
            weights = self._weights
            if weights is None:
                continue
            version, call = engine.receiving
            if version != weights.version:
                call = engine.actor.load.remote(weights.buckets, weights.version)
            _, checksum, seconds = await within(self.config.timeout_s, call)
            if checksum != weights.checksum:
                raise EngineError(
                    f"it loaded weights with checksum {checksum} for policy version {weights.version}; "
                    f"the learner sent {weights.checksum}"
                )
            if engine.version is None:
                self._joined(engine.name, time.monotonic() - engine.lost)
            engine.version = weights.version
            self._fruitless = 0
            self.load_seconds = max(self.load_seconds, seconds)
            self._fill()

    async def _lose(self, engine: _Engine, error: BaseException) -> None:
        """Give its requests back, restart it, and leave it to `_serve` to take it in again."""
        what = "hangs: no answer" if isinstance(error, TimeoutError) and not str(error) else "is lost"
        reason = (
            f"{what}: {_first_line(error)}" if str(error) else f"{what} within {self.config.timeout_s:g} s"
        )
        self._last_reason = f"{engine.name} {reason}"
        self.losses += 1
        engine.lost = time.monotonic()
        self._fruitless += not isinstance(error, RayActorError)
        if self._fruitless > _MOST_FAILURES * len(self._engines):
            # Not bad luck: they don't start, or don't take the weights.
            raise EngineError(
                f"engines fail again and again, and none gets to work; last: {self._last_reason}"
            )
        requests = list(engine.open.values())
        self._reset(engine)
        self.submit(self._lost(engine.name, reason, requests), first=True)
        if not isinstance(error, RayActorError):
            # Still a process, but of no use. Ray starts it anew.
            ray.kill(engine.actor, no_restart=False)
        await asyncio.sleep(_RETRY_SECONDS)

    def _reset(self, engine: _Engine) -> None:
        engine.up, engine.version, engine.load, engine.steps = False, None, 0, -1
        engine.busy_seconds = None
        engine.open, engine.outbox = {}, []
        engine.receiving = -1, None
        engine.news.clear()
        engine.outdated.clear()

    async def _watch(self) -> None:
        """Give up if there has been no engine for too long."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            alone = time.monotonic() - self._last_of_use
            if any(
                engine.up and (engine.version is not None or not self._weights) for engine in self._engines
            ):
                self._last_of_use = time.monotonic()
            elif alone > self.config.timeout_s:
                last = self._last_reason or "none has started yet; if they only need longer, set more"
                self._failed(
                    EngineError(
                        f"no rollout engine for rollout.timeout_s = {self.config.timeout_s:g} s, "
                        f"none of {len(self._engines)}; last: {last}"
                    )
                )
                return

    def _fill(self) -> None:
        """Give waiting requests to the engines with the least to do, as far as they have room."""
        if not self.waiting or self._weights is None:
            return
        newest = self._weights.version
        free = [
            (e.load, e.number)
            for e in self._engines
            if e.version == newest and e.load < self._limit and not e.isolated
        ]
        heapq.heapify(free)
        while self._suspects and free:
            load, number = heapq.heappop(free)
            if load:
                break  # it gets nothing more, so that it will have nothing; the others go on
            self._give(self._engines[number], self._suspects.popleft(), newest)
        while self._waiting and free:
            load, number = free[0]
            request = self._waiting[0]
            answers = request.sampling.samples
            if load and load + answers > self._limit:
                heapq.heappop(free)
                continue
            self._waiting.popleft()
            heapq.heapreplace(free, (load + answers, number))
            self._give(self._engines[number], request, newest)

    def _give(self, engine: _Engine, request: Request, version: int) -> None:
        engine.open[request.key] = request
        engine.outbox.append(request)
        engine.load += request.sampling.samples
        engine.news.set()
        self._begun(request.key, version)


def _first_line(error: BaseException) -> str:
    text = str(error.cause if isinstance(error, RayTaskError) and error.cause else error)
    return next(iter(text.strip().splitlines()), type(error).__name__)
