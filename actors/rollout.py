"""The rollout actor: a vLLM engine on the cluster, whose step loop runs in its own thread.

Requests join the running batch between two engine steps, groups leave it as they complete, and new weights are also
loaded between two steps. So an engine is never idle while it has a request, and never waits for its longest
completion.
"""

from __future__ import annotations

import gc
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

from actors.loading import FOR_SOUND, loading
from actors.weights.channel import BroadcastChannel
from bots.config.train import RolloutConfig
from bots.rollouts.request import RefusedError, Request, RequestKey
from bots.rollouts.rollout import Rollout

if TYPE_CHECKING:
    from actors.engine import Engine

T = TypeVar("T")
_LINGER_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Collected:
    """An engine's report.

    - groups: those completed since the last report.
    - steps: engine steps so far; the count stands still if the engine hangs.
    - busy_seconds: time spent in engine steps so far.
    - unfinished: prompts in the engine.
    - refused: requests that vLLM rejected since the last report, with its message.
    - early_completions: finished completions that wait for the rest of their group.
    - unbegun: prompts with no completion started, which `give_back` can return.
    - tokens: generated so far.
    - completion_seconds: `busy_seconds`, but each step's counts once for every completion in it.
    - recomputed: tokens so far whose keys and values new weights have dropped.
    """

    groups: list[tuple[RequestKey, list[Rollout]]]
    steps: int
    busy_seconds: float
    unfinished: int
    refused: list[tuple[RequestKey, str]] = field(default_factory=list)
    early_completions: int = 0
    unbegun: int = 0
    tokens: int = 0
    completion_seconds: float = 0.0
    recomputed: int = 0


# Several concurrent calls: one waits for groups while others submit requests and weights.
@ray.remote(max_concurrency=8, max_restarts=-1)  # type: ignore[call-overload]  # not in Ray's annotations
class RolloutActor:
    """Completes prompts and loads new weights. Its settings are the configuration's `rollout` section.

    Once an engine has failed, every call raises its error, and the caller restarts the actor.
    """

    def __init__(self, name: str, model: str, config: RolloutConfig, seed: int) -> None:
        self.name = name
        self._changed = threading.Condition()
        self._calls: deque[tuple[Callable[[Engine], Any], Future[Any]]] = deque()
        self._groups: list[tuple[RequestKey, list[Rollout]]] = []
        self._refused: list[tuple[RequestKey, str]] = []
        self._steps = 0
        self._busy_seconds = self._completion_seconds = 0.0
        self._tokens = 0
        self._unfinished = 0
        self._early_completions = 0
        self._unbegun = 0
        self._unbegun_told = 0
        self._recomputed = 0
        self._failure = ""
        self._turn = ""
        threading.Thread(target=self._run, args=(model, config, seed), name="engine", daemon=True).start()

    def pid(self) -> int:
        """Process id of the actor, which changes when it is restarted. Returns at once, even while vLLM loads."""
        return os.getpid()

    def ready(self) -> tuple[str, int]:
        """Wait until the engine is up; returns the actor's name and the engine's vocabulary size."""
        return self.name, self._between_steps(lambda engine: engine.vocab_size)

    def begin(self, turn: str) -> None:
        """Discard all requests and groups; from now on only calls of this turn count.

        Calls of an earlier caller that are still in transit can then neither add requests nor take groups.
        """

        def forget(engine: Engine) -> None:
            engine.abort()
            with self._changed:
                self._turn = turn
                self._groups = []
                self._refused = []
                self._unfinished = self._early_completions = self._unbegun = self._unbegun_told = 0
                self._changed.notify_all()

        self._between_steps(forget)

    def submit(self, turn: str, requests: Sequence[Request]) -> None:
        """Add requests to the running batch; `collect` returns their completions, or the reason for a refusal."""

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
        """Wait up to this long until a group is complete or started; returns all that are complete.

        Waits a moment longer for groups that are about to complete: calls cost engine time.
        Raises RuntimeError with the engine's own message if it has failed.
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
            groups: list[tuple[RequestKey, list[Rollout]]] = []
            refused: list[tuple[RequestKey, str]] = []
            if turn == self._turn:
                groups, self._groups = self._groups, []
                refused, self._refused = self._refused, []
                self._unbegun_told = self._unbegun
            return Collected(
                groups,
                self._steps,
                self._busy_seconds,
                self._unfinished,
                refused,
                self._early_completions,
                self._unbegun,
                self._tokens,
                self._completion_seconds,
                self._recomputed,
            )

    def give_back(self, turn: str, count: int) -> list[RequestKey]:
        """Remove up to `count` of the newest requests with no completion started; returns their keys."""

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
        """Load a policy version from the object store; returns the actor's name, the checksum and the seconds."""
        # Here: the coordinator imports this module too, for `Collected`, and torch takes it seconds.
        from actors.weights.format import checksum_of

        started = time.perf_counter()
        weights = ray.get(buckets)
        # In this thread: the engine continues with its completions in the meantime.
        known = checksum_of(weights)
        checksum = self._between_steps(lambda engine: engine.load(weights, version, known))
        return self.name, checksum, time.perf_counter() - started

    def receive(self, channel: BroadcastChannel, version: int) -> tuple[str, str, float]:
        """Load a policy version from a broadcast, bucket by bucket as they arrive; returns the same as `load`.

        The checksum is the learner's. The engine computes its own beside its next steps, and fails if they differ,
        before it returns a completion.
        """
        started = time.perf_counter()
        checksum = self._between_steps(lambda engine: engine.receive(channel, version))
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
        """The engine's thread: nothing else touches vLLM."""
        try:
            # vLLM is imported here, in the actor's process, in the environment prepared for it.
            with loading(without=FOR_SOUND):
                from actors.engine import Engine, prepare_process

                prepare_process()
                # Inside, because it imports more of vLLM and lives as long as the process.
                engine = Engine(model, config, seed)
            # A step of 100 completions makes thousands of objects, and almost none are cycles.
            gc.set_threshold(20_000, 20, 20)
            engine.name = self.name
            while True:
                self._take_calls(engine)
                started = time.perf_counter()
                groups = engine.step()
                with self._changed:
                    self._steps += 1
                    seconds = time.perf_counter() - started
                    self._busy_seconds += seconds
                    self._completion_seconds += seconds * engine.running
                    self._tokens = engine.tokens
                    unbegun, self._unbegun = self._unbegun, engine.unbegun
                    self._early_completions = engine.early_completions
                    self._recomputed = engine.recomputed
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
        """Run the queued calls; sleep while there is neither a call nor a completion in progress."""
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
