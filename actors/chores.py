"""Background tasks of an asyncio actor, and waiting for their results."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Chores:
    """Background tasks of an actor. If one fails, the next call that waits or checks raises its error."""

    def __init__(self) -> None:
        self._life = 0
        self._abandoned_because = ""
        self._waiters: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failure: BaseException | None = None

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine in the background; the task has the coroutine's name."""
        task = asyncio.create_task(work, name=getattr(work, "__name__", None))
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    async def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the background and wait for it. Raises its error, and as `news` if it was abandoned."""
        life = self._life
        try:
            result = await self.begin(work)
        except asyncio.CancelledError:
            self._raise_abandoned(life)
            raise
        self._raise_abandoned(life)
        return result

    def running(self, *names: str) -> bool:
        """Whether a task with one of these names is still running."""
        return any(task.get_name() in names for task in self._tasks)

    def abandon(self, reason: str) -> None:
        """Cancel every task, and make every waiting `news` raise a RuntimeError that says this reason."""
        self._life += 1
        self._abandoned_because = reason
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self.tell()

    def fail(self, error: BaseException) -> None:
        """Keep the first error since `forgive` for the next call that waits or checks."""
        self._failure = self._failure or error
        self.tell()

    def forgive(self) -> None:
        """Clear the error: it belongs to abandoned work."""
        self._failure = None

    @property
    def failure(self) -> BaseException | None:
        """The error, if there is one."""
        return self._failure

    def raise_failure(self) -> None:
        """Raise the error, if there is one."""
        if self._failure is not None:
            raise self._failure

    def tell(self) -> None:
        """Wake every waiting `news`."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def news(self) -> None:
        """Sleep until something changes. Raises the error of a task that failed before or in the meantime."""
        self.raise_failure()
        waiter, life = asyncio.get_running_loop().create_future(), self._life
        self._waiters.append(waiter)
        await waiter
        self._raise_abandoned(life)
        self.raise_failure()

    def _raise_abandoned(self, life: int) -> None:
        if life != self._life:
            raise RuntimeError(self._abandoned_because)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)
        self.tell()
