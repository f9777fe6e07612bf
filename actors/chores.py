"""Background work of an asyncio actor, and the sleep of those who wait for what it brings."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Chores:
    """Tasks that run beside an actor's calls. If one fails, so does the next call that waits or looks."""

    def __init__(self) -> None:
        self._life = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failure: BaseException | None = None

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Have something done in the background; the task bears the coroutine's name."""
        task = asyncio.create_task(work, name=work.__name__)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    def under_way(self, *names: str) -> bool:
        """Whether a task of one of these names has not ended."""
        return any(task.get_name() in names for task in self._tasks)

    def abandon(self) -> None:
        """Cancel every task, and end the sleep of all who wait with an error: what they waited for won't come."""
        self._life += 1
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self.tell()

    def fail(self, error: BaseException) -> None:
        """Keep the first error since `forgive` for whoever waits or looks next."""
        self._failure = self._failure or error
        self.tell()

    def forgive(self) -> None:
        """Forget the error: it was of the work that has been abandoned."""
        self._failure = None

    @property
    def failure(self) -> BaseException | None:
        """The error that was kept."""
        return self._failure

    def raise_failure(self) -> None:
        """Raise the error that was kept, if any."""
        if self._failure is not None:
            raise self._failure

    def tell(self) -> None:
        """Wake whoever waits for news."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def news(self) -> None:
        """Sleep until something has changed. Raises what went wrong meanwhile, or before."""
        self.raise_failure()
        waiter, life = asyncio.get_running_loop().create_future(), self._life
        self._waiters.append(waiter)
        await waiter
        if life != self._life:
            raise RuntimeError("the run went back to a checkpoint")
        self.raise_failure()

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)
        self.tell()
