"""The rollout actor: a vLLM engine on the cluster, whose step loop runs in its own thread.

Requests join the running batch between two engine steps, groups leave it as they complete, and new weights
come in between two steps too; so an engine is never idle while it has a request, and never waits for its
longest answer.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import ray

from actors.loading import loading
from actors.weights.broadcast import receive
from actors.weights.channel import BroadcastChannel
from actors.weights.format import checksum_of
from bots.config.train import RolloutConfig
from bots.rollouts.request import RefusedError, Request, RequestKey
from bots.rollouts.rollout import Rollout

if TYPE_CHECKING:
    from actors.engine import Engine

T = TypeVar("T")
_LINGER_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Collected:
    """What an engine has to tell.

    groups: completed since the last time. steps: engine steps so far; they stand still in an engine that hangs.
    busy_seconds: time spent in them so far. unfinished: prompts that the engine has. refused: requests that vLLM
    did not take since the last time, with its words. partial_answers: complete answers of groups that are not.
    unbegun: prompts of which it has not begun a single answer, and which `give_back` can return.
    """

    groups: list[tuple[RequestKey, list[Rollout]]]
    steps: int
    busy_seconds: float
    unfinished: int
    refused: list[tuple[RequestKey, str]] = field(default_factory=list)
    partial_answers: int = 0
    unbegun: int = 0


# Several calls at a time: one waits for groups while others hand in requests and weights.
@ray.remote(max_concurrency=8, max_restarts=-1)  # type: ignore[call-overload]  # not in Ray's annotations
class RolloutActor:
    """Answers prompts and takes new weights. Its settings are the configuration's `rollout` section.

    Once an engine has failed, every call raises its error: the caller restarts the actor.
    """

    def __init__(self, name: str, model: str, config: RolloutConfig, seed: int) -> None:
        self.name = name
        self._changed = threading.Condition()
        self._calls: deque[tuple[Callable[[Engine], Any], Future[Any]]] = deque()
        self._groups: list[tuple[RequestKey, list[Rollout]]] = []
        self._refused: list[tuple[RequestKey, str]] = []
        self._steps = 0
        self._busy_seconds = 0.0
        self._unfinished = 0
        self._partial_answers = 0
        self._unbegun = 0
        self._unbegun_told = 0
        self._failure = ""
        self._turn = ""
        threading.Thread(target=self._run, args=(model, config, seed), name="engine", daemon=True).start()

    def pid(self) -> int:
        """Process id of the actor, which changes when it is restarted. Answers at once, also while vLLM loads."""
        return os.getpid()

    def ready(self) -> tuple[str, int]:
        """Return the actor's name and the engine's vocabulary size, once the engine is up."""
        return self.name, self._between_steps(lambda engine: engine.vocab_size)

    def begin(self, turn: str) -> None:
        """Forget all requests and groups; from now on only calls of this turn count.

        What an earlier caller still has on the way can then neither put requests in nor take groups out.
        """

        def forget(engine: Engine) -> None:
            engine.abort()
            with self._changed:
                self._turn = turn
                self._groups = []
                self._refused = []
                self._unfinished = self._partial_answers = self._unbegun = self._unbegun_told = 0
                self._changed.notify_all()

        self._between_steps(forget)

    def submit(self, turn: str, requests: Sequence[Request]) -> None:
        """Take requests into the running batch; `collect` gives their answers, or says why they were refused."""

        def add(engine: Engine) -> None:
            if turn != self._turn:
                return
            refused = []
            for request in requests:
                try:
                    engine.submit(request)
                except RefusedError as error:
                    refused.append((request.key, str(error)))
            with self._changed:
                self._unfinished += len(requests) - len(refused)
                self._refused += refused
                self._changed.notify_all()

        self._post(add)

    def collect(self, turn: str, seconds: float) -> Collected:
        """Wait until a group is complete or begun, but at most this long, and return all that are complete.

        A moment is given to others that are about to complete: calls cost the engine time.
        Raises RuntimeError with the engine's own words if it has failed.
        """

        def over() -> bool:
            return bool(self._failure) or turn != self._turn

        with self._changed:
            self._changed.wait_for(
                lambda: self._groups or self._refused or self._unbegun != self._unbegun_told or over(),
                seconds,
            )
            if self._groups:
                self._changed.wait_for(lambda: not self._unfinished or over(), _LINGER_SECONDS)
            self._raise_failure()
            if turn != self._turn:
                return Collected([], self._steps, self._busy_seconds, self._unfinished)
            groups, self._groups = self._groups, []
            refused, self._refused = self._refused, []
            self._unbegun_told = self._unbegun
            return Collected(
                groups,
                self._steps,
                self._busy_seconds,
                self._unfinished,
                refused,
                self._partial_answers,
                self._unbegun,
            )

    def give_back(self, turn: str, count: int) -> list[RequestKey]:
        """Remove the newest requests of which no answer was begun, at most `count`; returns their keys."""

        def remove(engine: Engine) -> list[RequestKey]:
            if turn != self._turn:
                return []
            keys = engine.give_back(count)
            with self._changed:
                self._unfinished -= len(keys)
                self._unbegun = self._unbegun_told = engine.unbegun
            return keys

        return self._between_steps(remove)

    def load(self, buckets: list[ray.ObjectRef[Any]], version: int) -> tuple[str, str, float]:
        """Load a policy version from the object store: the actor's name, the checksum and the seconds."""
        started = time.perf_counter()
        weights = ray.get(buckets)
        # In this thread: meanwhile the engine goes on with its answers.
        known = checksum_of(weights)
        checksum = self._between_steps(lambda engine: engine.load(weights, version, known))
        return self.name, checksum, time.perf_counter() - started

    def receive(self, channel: BroadcastChannel, version: int) -> tuple[str, str, float]:
        """Load a policy version from a broadcast, bucket by bucket as they come; returns as `load` does."""
        started = time.perf_counter()
        checksum = self._between_steps(lambda engine: engine.load(receive(channel), version))
        return self.name, checksum, time.perf_counter() - started

    def _post(self, call: Callable[[Engine], T]) -> Future[T]:
        done: Future[T] = Future()
        with self._changed:
            self._raise_failure()
            self._calls.append((call, done))
            self._changed.notify_all()
        return done

    def _between_steps(self, call: Callable[[Engine], T]) -> T:
        return self._post(call).result()

    def _raise_failure(self) -> None:
        if self._failure:
            raise RuntimeError(f"{self.name} has failed: {self._failure}")

    def _run(self, model: str, config: RolloutConfig, seed: int) -> None:
        """The engine's own thread: nothing else touches vLLM."""
        try:
            # vLLM is imported here, in the actor's process, under the environment made for it.
            with loading():
                from actors.engine import Engine, prepare_process

            prepare_process()
            engine = Engine(model, config, seed)
            engine.name = self.name
            while True:
                self._take_calls(engine)
                started = time.perf_counter()
                groups = engine.step()
                with self._changed:
                    self._steps += 1
                    self._busy_seconds += time.perf_counter() - started
                    unbegun, self._unbegun = self._unbegun, engine.unbegun
                    self._partial_answers = engine.partial_answers
                    if groups:
                        self._groups += groups.items()
                        self._unfinished -= len(groups)
                    if groups or self._unbegun != unbegun:
                        self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 (raised by the next call)
            with self._changed:
                self._failure = f"{error!r}\n{traceback.format_exc(limit=-4)}"
                for _, done in self._calls:
                    done.set_exception(RuntimeError(f"{self.name} has failed: {self._failure}"))
                self._changed.notify_all()

    def _take_calls(self, engine: Engine) -> None:
        """Do what was asked for; sleep as long as there is neither a call nor an answer to grow."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._calls or engine.unfinished)
                if not self._calls:
                    return
                call, done = self._calls.popleft()
            try:
                done.set_result(call(engine))
            except BaseException as error:
                done.set_exception(error)
                raise
