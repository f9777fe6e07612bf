"""The grader pool: shares completions out over the grader actors and survives the loss of any of them."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError

from actors.fatal import FatalError
from actors.within import within
from bots.config.train import GradingConfig
from bots.graders.waiting import Result
from bots.graders.worker import Item
from bots.rollouts.encoded_pool import EncodedPool
from bots.rollouts.rollout import Group
from bots.rollouts.templates import prompt_text

_RETRY_SECONDS = 0.5
_MOST_JOBS = 64
_START_SECONDS = 120.0


class GradingError(RuntimeError):
    """Too many graders were lost over these completions; gives the last reason."""


class NoGraderError(FatalError):
    """No grader is left; gives the reason of the first one lost."""


class _GoneError(Exception):
    """A grader is gone for good; gives the reason."""


@dataclass(eq=False)
class _Job:
    items: Sequence[Item]
    done: asyncio.Future[list[Result]]
    losses: int = 0


class GraderPool:
    """Drives the grader actors from an event loop.

    Callbacks:

    - lost(name, reason, jobs): a grader was lost while it had this many jobs.
    - failed(error): the pool itself is broken, or no grader is left (NoGraderError).

    Ray restarts a grader that dies. The pool restarts one that exceeds its total time limit or whose processes
    fail. Its jobs are graded again elsewhere, each on its own, so that a job that crashes graders does not affect
    others. At the third loss the job is dropped. A grader whose constructor raises on its node is gone for good,
    and the others go on without it.
    """

    most_losses = 3

    def __init__(
        self,
        config: GradingConfig,
        lost: Callable[[str, str, int], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.config = config
        self._lost, self._failed = lost, failed
        self._waiting: deque[_Job] = deque()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._gone: list[str] = []
        self.losses = 0
        self.running = 0

    @property
    def waiting(self) -> int:
        """Number of jobs not yet sent to a grader."""
        return len(self._waiting)

    def add(self, graders: Sequence[tuple[str, Any]]) -> None:
        """Add graders, as (name, handle) pairs."""
        for name, actor in graders:
            task = asyncio.create_task(self._serve(name, actor), name=name)
            task.add_done_callback(self._check)
            self._tasks.append(task)

    def clear(self) -> None:
        """Discard all waiting jobs."""
        for job in self._waiting:
            job.done.cancel()
        self._waiting.clear()

    def end(self) -> None:
        """Let go of all graders: whatever happens to them is noted no more."""
        for task in self._tasks:
            task.cancel()

    def tell_if_none(self) -> None:
        """Fail if graders were added and none is left; otherwise callers would wait forever for grades."""
        if self._tasks and len(self._gone) == len(self._tasks):
            count = f"all {len(self._gone)} graders are" if len(self._gone) > 1 else "the only grader is"
            self._failed(NoGraderError(f"{count} gone for good; {self._gone[0]}"))

    async def grade(self, items: Sequence[Item]) -> list[Result]:
        """Grade completions, in order. Failed grades are tried once more; after that the reward is None.

        Raises GradingError if every grader that tried was lost.
        """
        results = await self._grade(items)
        holes = [place for place, result in enumerate(results) if result.reward is None]
        if holes:
            again = await self._grade([items[place] for place in holes])
            for place, result in zip(holes, again, strict=True):
                results[place] = result
        return results

    async def _grade(self, items: Sequence[Item]) -> list[Result]:
        job = _Job(items, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._news.set()
        return await job.done

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    async def _serve(self, name: str, actor: Any) -> None:
        try:
            # Before there is anything to grade: a problem on a node shows while the engines still load.
            await self._wait_for(actor)
            await self._grade_for_ever(name, actor)
        except _GoneError as error:
            self.losses += 1
            reason = f"gone for good: {error}"
            self._lost(name, reason, 0)
            self._gone.append(f"{name}: {error}")
            self.tell_if_none()

    async def _grade_for_ever(self, name: str, actor: Any) -> None:
        while True:
            jobs = await self._take()
            self.running += len(jobs)
            try:
                await self._work(actor, jobs)
            except (RayError, TimeoutError) as error:
                self._lose(name, jobs, error)
                if not isinstance(error, RayActorError):
                    ray.kill(actor, no_restart=False)
                await self._wait_for(actor)
            finally:
                self.running -= len(jobs)

    async def _take(self) -> list[_Job]:
        """The jobs that have waited longest: a fair share of all. A job that has lost a grader goes alone."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        share = min(_MOST_JOBS, math.ceil(len(self._waiting) / (len(self._tasks) - len(self._gone))))
        jobs = [self._waiting.popleft()]
        while len(jobs) < share and not jobs[0].losses and not self._waiting[0].losses:
            jobs.append(self._waiting.popleft())
        return jobs

    async def _work(self, actor: Any, jobs: list[_Job]) -> None:
        items = [item for job in jobs for item in job.items]
        # Each grade has its own limit; this one is for the actor as a whole.
        limit = _START_SECONDS + self.config.timeout_s * math.ceil(len(items) / self.config.workers)
        if (judge := self.config.judge) is not None:
            limit += 2 * judge.attempts * judge.timeout_s * math.ceil(len(items) / judge.concurrency)
        results = iter(await within(limit, actor.grade.remote(items)))
        for job in jobs:
            graded = [next(results) for _ in job.items]
            if not job.done.done():
                job.done.set_result(graded)

    def _lose(self, name: str, jobs: list[_Job], error: BaseException) -> None:
        self.losses += 1
        reason = _first_line(error)
        self._lost(name, reason, len(jobs))
        for job in reversed(jobs):
            job.losses += 1
            if job.done.done():
                continue
            if job.losses >= self.most_losses:
                job.done.set_exception(
                    GradingError(f"{job.losses} graders were lost over it; {name}: {reason}")
                )
            else:
                self._waiting.appendleft(job)
        self._news.set()

    async def _wait_for(self, actor: Any) -> None:
        """Return once the actor is up. Raises _GoneError if it never will be."""
        dying_since = math.inf
        while True:
            try:
                await within(_START_SECONDS, actor.ready.remote())
                return
            except TimeoutError:
                # Its node or its runtime environment may still be starting.
                continue
            except RayError as error:
                # Ray restarts an actor whose process died, but not one whose constructor raised.
                if isinstance(error, RayActorError) and error.actor_init_failed:
                    raise _GoneError(_own_words(error)) from error
                dying_since = min(dying_since, time.monotonic())
                if time.monotonic() - dying_since > _START_SECONDS:
                    raise _GoneError(
                        f"it died again and again for {_START_SECONDS:g} s; last: {_first_line(error)}"
                    ) from error
            await asyncio.sleep(_RETRY_SECONDS)


def items_of(group: Group, pool: EncodedPool) -> list[Item]:
    """The items to grade in a group: (grader, prompt, answer, completion) for each of its completions."""
    (task,) = pool.pool.take(np.array([group.row], np.int64), ["grader", "prompt", "answer"])
    prompt = prompt_text(task["prompt"])
    return [(task["grader"], prompt, task["answer"], rollout.text) for rollout in group.rollouts]


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no answer in time")


def _own_words(error: BaseException) -> str:
    """The constructor's own error message, from the end of the traceback in which Ray wraps it."""
    lines = str(error).strip().splitlines()
    frames = [place for place, line in enumerate(lines) if line.startswith("  File ")]
    after = lines[frames[-1] + 1 :] if frames else lines
    while len(after) > 1 and after[0].startswith(" "):
        after.pop(0)
    return "\n".join(after)
