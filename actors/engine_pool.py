"""The engine pool: shares requests out over the engines and survives the loss of any of them."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayError

from actors.engine_balance import compare, even_out
from actors.pooled_engine import LOSSES_TO_BE_ALONE, PooledEngine, Weights, first_line, patience, why_lost
from actors.weights.channel import BroadcastChannel
from actors.weights.seats import Seats
from actors.within import within
from bots.config.train import RolloutConfig
from bots.rollouts.request import Request, RequestKey
from bots.rollouts.rollout import Rollout
from bots.rollouts.shares import Shares

MOST_LOSSES = 5
"""Drop a request after this many engine losses: it is the likely cause."""

_POLL_SECONDS = 2.0
_RETRY_SECONDS = 0.5
_MOST_FAILURES = 3


class EngineError(RuntimeError):
    """No engine is available. Gives the last reason and the key that sets the limit."""


class EnginePool:
    """Drives the rollout actors from an event loop.

    Callbacks:

    - begun(key, version): the request was sent to an engine that holds `version`.
    - completed(key, rollouts): all completions of the request.
    - refused(key, reason): the request is dropped; no engine can serve it.
    - lost(name, reason, requests): an engine was lost while it had these requests. They are queued again or dropped.
    - returned(key): an engine gave the request back before starting it; it is queued again.
    - joined(name, seconds): an engine loaded its first weights, this long after it was lost, added or cleared.
    - failed(error): no engine is left.

    `bots.rollouts.shares` decides which engine gets which request, by the speeds that `bots.rollouts.speeds` measures.
    Once the queue is empty, an idle engine gets requests that another engine has not started.

    An engine loads new weights between two of its steps, without waiting for its requests: those in progress
    continue under the new weights (see `Engine.load`). An engine gets new requests only while it holds the newest
    version. An engine that dies, hangs or fails is restarted, loads the newest weights and is used again. Its
    requests go to the front of the queue. A request that has lost three engines gets an engine to itself: if it is
    the cause, the next loss affects no other request. At the fifth loss it is dropped.
    """

    def __init__(
        self,
        config: RolloutConfig,
        begun: Callable[[RequestKey, int], None],
        completed: Callable[[RequestKey, list[Rollout]], None],
        refused: Callable[[RequestKey, str], None],
        lost: Callable[[str, str, Sequence[Request]], Any],
        joined: Callable[[str, float], None],
        failed: Callable[[BaseException], None],
        returned: Callable[[RequestKey], None] = lambda key: None,
    ) -> None:
        self.config = config
        self._begun, self._completed, self._refused, self._lost = begun, completed, refused, lost
        self._joined, self._failed, self._returned = joined, failed, returned
        slots = config.max_num_seqs
        # A few more than run at a time, so that a freed slot is filled at the next engine step.
        self._shares = Shares(slots, slots + max(config.samples, slots // 8))
        self._engines: list[PooledEngine] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._suspects: deque[Request] = deque()
        self._weights: Weights | None = None
        self._turns = itertools.count()
        self._name = uuid.uuid4().hex[:8]
        self._seats = Seats(config.workers)
        self._fruitless = 0
        self._last_of_use = time.monotonic()
        self._last_reason = ""
        self.losses = 0
        self.recomputed = 0
        self.load_seconds = 0.0

    @property
    def up(self) -> int:
        """Number of engines that are up."""
        return sum(engine.up for engine in self._engines)

    @property
    def waiting(self) -> int:
        """Number of requests not yet sent to an engine."""
        return len(self._shares) + len(self._suspects)

    @property
    def running(self) -> int:
        """Number of requests at the engines."""
        return sum(len(engine.open) for engine in self._engines)

    @property
    def busy_seconds(self) -> dict[str, float]:
        """Seconds spent in engine steps so far, for each engine that is up."""
        return {engine.name: engine.busy_seconds for engine in self._engines if engine.up}

    def add(self, engines: Iterable[tuple[str, Any]]) -> None:
        """Add engines, as (name, handle) pairs; each is used once it is up."""
        for name, actor in engines:
            engine = PooledEngine(name, actor, len(self._engines))
            self._engines.append(engine)
            self._start(engine)
        if "watch" not in self._tasks:
            self._restart_watch()

    def submit(self, requests: Iterable[Request], first: bool = False) -> None:
        """Queue requests. first: put them at the front of the queue."""
        others: list[Request] = []
        for request in requests:
            (self._suspects if request.losses >= LOSSES_TO_BE_ALONE else others).append(request)
        self._shares.put(others, first)
        compare(self._engines)
        self._fill()

    def set_weights(self, weights: Weights) -> None:
        """Have every engine load these weights between two of its steps; returns at once."""
        self._weights = weights
        self.load_seconds = 0.0
        for engine in self._engines:
            engine.pace.fade()
            engine.outdated.set()

    def set_stored(self, version: int, buckets: list[ray.ObjectRef[Any]]) -> None:
        """The object store has a version that was set without buckets: engines that lack it load it from there."""
        if not self._weights or self._weights.version != version:
            return
        self._weights = replace(self._weights, buckets=buckets)
        for engine in self._engines:
            if engine.version != version:
                engine.outdated.set()

    def invite(self, version: int, channel: BroadcastChannel) -> BroadcastChannel | None:
        """Invite the engines that are up to a broadcast of the next weights; None if there are none. See `Seats`.

        `set_weights` of the same version must follow. Engines that are not up load from the object store.
        """
        invited = [engine for engine in self._engines if engine.up]
        own, *seats = self._seats.assign(channel, [engine.turn for engine in invited])
        for engine, seat in zip(invited, seats, strict=True):
            engine.receiving = version, engine.actor.receive.remote(seat, version)
        return own if invited else None

    def clear(self) -> None:
        """Discard all requests, here and in the engines, and reset the counts and times of engine failures."""
        self._shares.clear()
        self._suspects.clear()
        self._weights = None
        self._fruitless = 0
        for engine in self._engines:
            self._tasks[engine.name].cancel()
            engine.reset()
            engine.lost = time.monotonic()
            self._start(engine)
        self._restart_watch()

    def end(self) -> None:
        """Let go of all engines: whatever happens to them is noted no more."""
        for task in self._tasks.values():
            task.cancel()

    def _restart_watch(self) -> None:
        # Reporting the error ends the watch, and the caller may have restarted it since.
        if "watch" in self._tasks:
            self._tasks["watch"].cancel()
        self._last_of_use = time.monotonic()
        self._tasks["watch"] = asyncio.create_task(self._watch())

    def _start(self, engine: PooledEngine) -> None:
        task = asyncio.create_task(self._serve(engine), name=engine.name)
        task.add_done_callback(self._check)
        self._tasks[engine.name] = task

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    async def _serve(self, engine: PooledEngine) -> None:
        """Serve one engine across its restarts."""
        while True:
            error: BaseException | None = None
            try:
                await self._join(engine)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._collect(engine))
                    group.create_task(self._hand_in(engine))
                    group.create_task(self._follow_weights(engine))
                    group.create_task(self._fetch_back(engine))
            except* (RayError, TimeoutError, EngineError) as errors:
                error = errors.exceptions[0]
            if error is not None:
                await self._lose(engine, error)

    async def _join(self, engine: PooledEngine) -> None:
        # Wait as long as its node takes to start: until then the actor is pending.
        while True:
            try:
                await within(self.config.timeout_s, engine.actor.pid.remote())
                break
            except TimeoutError:
                continue
            except RayActorError as error:
                self._last_reason = f"{engine.name}: {first_line(error)}"
                await asyncio.sleep(_RETRY_SECONDS)
        engine.turn = f"{self._name}-{next(self._turns)}"
        least, key = self.config.starting_s
        limit = least * 2**engine.slow_starts
        engine.starting = True
        try:
            await within(limit, engine.actor.ready.remote())
        except TimeoutError:
            times = f" x {2**engine.slow_starts}" if engine.slow_starts else ""
            engine.slow_starts += 1
            raise TimeoutError(
                f"its start takes longer than {key} = {least:g} s{times}; it may take "
                f"{2 * limit:g} s next time. If it only needs longer, set more"
            ) from None
        finally:
            engine.starting = False
        engine.slow_starts = 0
        await within(self.config.timeout_s, engine.actor.begin.remote(engine.turn))
        engine.up = True
        engine.progressed = time.monotonic()
        if self._weights is not None:
            engine.outdated.set()

    async def _collect(self, engine: PooledEngine) -> None:
        limit = self.config.timeout_s
        while True:
            told = await within(
                limit + _POLL_SECONDS, engine.actor.collect.remote(engine.turn, _POLL_SECONDS)
            )
            now = time.monotonic()
            for key, rollouts in told.groups:
                self._shares.complete(engine, engine.take(key))
                self._completed(key, rollouts)
            for key, reason in told.refused:
                self._shares.complete(engine, engine.take(key))
                self._refused(key, reason)
            self.recomputed += engine.hear(told, now)
            if now - engine.progressed > limit:
                raise TimeoutError(f"{told.unfinished} requests, and no engine step for {limit:g} s")
            self._fill()

    async def _hand_in(self, engine: PooledEngine) -> None:
        while True:
            await engine.news.wait()
            engine.news.clear()
            requests, engine.outbox = engine.outbox, []
            if requests:
                await within(self.config.timeout_s, engine.actor.submit.remote(engine.turn, requests))

    async def _fetch_back(self, engine: PooledEngine) -> None:
        """Give back requests that the engine has not started, on demand, for idle engines."""
        while True:
            await engine.overfull.wait()
            call = engine.actor.give_back.remote(engine.turn, engine.wanted_back)
            keys = await within(self.config.timeout_s, call)
            engine.overfull.clear()
            engine.wanted_back = 0
            engine.unbegun = max(0, engine.unbegun - len(keys))
            requests = [engine.take(key) for key in keys]
            for request in requests:
                self._shares.take_back(engine, request)
                self._returned(request.key)
            self._shares.put(requests, first=True)
            self._fill(without=engine)

    async def _follow_weights(self, engine: PooledEngine) -> None:
        while True:
            await engine.outdated.wait()
            engine.outdated.clear()
            if (weights := self._weights) is None:
                continue
            version, call = engine.receiving
            if version != weights.version:
                if weights.buckets is None:
                    continue  # until `set_stored`
                call = engine.actor.load.remote(weights.buckets, weights.version)
            try:
                _, checksum, seconds = await within(self.config.timeout_s, call)
            except ObjectLostError as error:  # not the engine's fault: it waits for the learner's next ones
                self._last_reason = f"policy version {weights.version} is lost: {first_line(error)}"
                continue
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

    async def _lose(self, engine: PooledEngine, error: BaseException) -> None:
        """Requeue or drop its requests and restart it; `_serve` then takes it back in."""
        reason = why_lost(error, self.config.timeout_s)
        self._last_reason = f"{engine.name} {reason}"
        self.losses += 1
        engine.lost = time.monotonic()
        self._fruitless += not isinstance(error, RayActorError)
        if self._fruitless > _MOST_FAILURES * len(self._engines):
            # Not a coincidence: the engines don't start, or don't load the weights.
            raise EngineError(
                f"engines fail again and again, and none gets to work; last: {self._last_reason}"
            )
        requests = list(engine.open.values())
        for request in requests:
            self._shares.take_back(engine, request)
        engine.reset()
        self._lost(engine.name, reason, requests)
        again = [replace(request, losses=request.losses + 1) for request in requests]
        for request in again:
            if request.losses >= MOST_LOSSES:
                why = f"{MOST_LOSSES} engines were lost while they had it; {engine.name} {reason}"
                self._refused(request.key, why)
        self.submit((request for request in again if request.losses < MOST_LOSSES), first=True)
        if not isinstance(error, RayActorError):
            # The process is alive but unusable. Ray restarts it.
            ray.kill(engine.actor, no_restart=False)
        await asyncio.sleep(_RETRY_SECONDS)

    async def _watch(self) -> None:
        """Fail if there has been no engine for too long."""
        starting_s, starting_key = self.config.starting_s
        limit, key = max((self.config.timeout_s, "rollout.timeout_s"), (starting_s, starting_key))
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            alone = time.monotonic() - self._last_of_use
            if any(
                engine.up and (engine.version is not None or not self._weights) for engine in self._engines
            ):
                self._last_of_use = time.monotonic()
            elif alone > patience(self.config, self._engines):
                last = self._last_reason or "none has started yet; if they only need longer, set more"
                self._failed(
                    EngineError(
                        f"no rollout engine for {key} = {limit:g} s, "
                        f"none of {len(self._engines)}; last: {last}"
                    )
                )
                return

    def _fill(self, without: PooledEngine | None = None) -> None:
        """Send queued requests to engines; if none is queued, have engines with too many give some back.

        without: an engine that gets nothing this time because it has just given something back.
        """
        if self._weights is None:
            return
        newest = self._weights.version
        usable = [engine for engine in self._engines if engine.up and not engine.isolated]
        ready = [engine for engine in usable if engine.version == newest and engine is not without]
        while self._suspects and ready:
            engine = min(ready, key=lambda engine: engine.load)
            # An engine that is not empty gets no more requests, so that it drains; the others go on.
            ready.remove(engine)
            if engine.open:
                break
            request = self._suspects.popleft()
            self._shares.note(engine, request)
            self._give(engine, request, newest)
        if len(self._shares):
            loading = [engine for engine in usable if engine.version != newest]
            for engine, request in self._shares.share_out(ready, loading):
                self._give(engine, request, newest)
        else:
            even_out(ready)

    def _give(self, engine: PooledEngine, request: Request, version: int) -> None:
        engine.give(request)
        self._begun(request.key, version)
