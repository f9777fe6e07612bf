"""A pool of killable grading processes: every grade is bounded in time and memory, and none can hang the caller."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from typing import cast

from bots.graders import composite, judge, waiting
from bots.graders.code import CodeOptions
from bots.graders.judge import JudgeOptions
from bots.graders.nursery import Nursery
from bots.graders.waiting import Result
from bots.graders.worker import Item, Setup, Verdict

_BATCH_SECONDS = 0.02  # amount of work in one message to a worker
_FIRST_GUESS = 0.001  # expected seconds per grade, for a grader not seen yet
_SHORTEST_WAIT = 0.005  # between two checks of a grade whose extra time was spent waiting for a core


@dataclass
class Stats:
    """Counts since the pool was created.

    graded: samples with a reward. failures: samples without one; of these, timeouts hit the time limit and deaths
    killed their process. restarts: workers replaced. busy_seconds: time spent grading, over all workers.
    """

    graded: int = 0
    failures: int = 0
    timeouts: int = 0
    deaths: int = 0
    restarts: int = 0
    busy_seconds: float = 0.0


def check_time_limit(time_limit: float, graders: Sequence[str], code: CodeOptions | None = None) -> None:
    """Raise ValueError if one of the graders runs programs, and could take longer than a grade may."""
    code = code or CodeOptions()
    if _uses_code(graders) and time_limit <= code.total_seconds + code.limits.wall_seconds:
        raise ValueError(
            f"grading time limit: {time_limit:g} s; code takes up to {code.total_seconds:g} s of tests and "
            f"{code.limits.wall_seconds:g} s for the last, and the limit must be longer than both together"
        )


def _uses_code(graders: Sequence[str]) -> bool:
    parts = [part for name in graders for _, part in composite.parse(name) or [(1.0, name)]]
    return bool({"code", "cruxeval"} & set(parts))


class Workers:
    """Grade samples in `count` processes.

    Args:
        count: number of processes.
        time_limit: seconds for one grade, minus those its process waits for a core; a worker that exceeds it is
            killed and replaced.
        memory_limit: bytes that grading may use beyond what a worker has at its start.
        graders: names that will be used: imported and checked now, before anything else starts. Others work too, but
            are imported on first use, within the time limit.
        code: options of the `code` grader.
        judge_by: the model that the `judge` grader uses.

    Raises:
        ValueError: an impossible limit. UnknownGraderError, SandboxUnavailableError: about `graders`.
    """

    def __init__(
        self,
        count: int = 2,
        *,
        time_limit: float = 30.0,
        memory_limit: int = 2 << 30,
        graders: Sequence[str] = (),
        code: CodeOptions | None = None,
        judge_by: JudgeOptions | None = None,
    ) -> None:
        if count < 1:
            raise ValueError(f"grading workers: {count}; at least 1 is needed")
        if not time_limit > 0:
            raise ValueError(f"grading time limit: {time_limit} s; must be positive")
        if memory_limit < 1 << 24:
            raise ValueError(f"grading memory limit: {memory_limit} bytes; at least {1 << 24} are needed")
        code = code or CodeOptions()
        check_time_limit(time_limit, graders, code)
        self.time_limit = time_limit
        setup = Setup(tuple(graders), memory_limit, code, judge_by)
        judge.configure(judge_by)
        self._threads = ThreadPoolExecutor(judge.concurrency(), thread_name_prefix="judge")
        self._stats = Stats()
        self._seconds = {"code": 0.05}  # a grade's expected time, by grader
        self._next_number = 0
        self._lock = threading.Lock()
        self._nursery = Nursery(setup)
        self._workers = [self._nursery.fork() for _ in range(count)]

    def grade(self, items: Sequence[Item]) -> list[Result]:
        """A result for each (grader's name, prompt, answer, completion), in order."""
        with self._lock:
            if not any(map(waiting.waits, {item[0] for item in items})):
                return self._grade(items)
            results = waiting.grade(items, self._threads, self._grade)
            for item, result in zip(items, results, strict=True):
                if waiting.waits(item[0]):
                    self._count(result)
            return results

    def stats(self) -> dict[str, float]:
        """The counts of `Stats`, those of the judge if there is one, and the number of workers."""
        return {**asdict(self._stats), **judge.counts(), "workers": float(len(self._workers))}

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.end()
        self._workers = []
        self._nursery.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- grading ----------------------------------------------------------------------------------------

    def _grade(self, items: Sequence[Item]) -> list[Result]:
        base = self._next_number
        self._next_number += len(items)
        results: list[Result | None] = [None] * len(items)
        batches = deque(self._batches(items, base))
        while batches or any(worker.open for worker in self._workers):
            for slot, worker in enumerate(self._workers):
                if batches and not worker.open:
                    self._send(slot, batches.popleft(), batches)
            busy = [worker for worker in self._workers if worker.open]
            if not busy:
                continue
            left = self.time_limit - max(worker.lasted() for worker in busy)
            wait([worker.channel for worker in busy], max(_SHORTEST_WAIT, left))
            for slot, worker in enumerate(self._workers):
                if worker.open and worker.channel.poll():
                    self._receive(slot, base, results, batches)
                elif worker.open:
                    number = worker.in_hand()
                    if worker.lasted() > self.time_limit:
                        reason = f"no grade within the time limit of {self.time_limit:g} s"
                        self._stats.timeouts += 1
                        # Ungraded means: answer or grader at fault, not a completion that can't be compared.
                        reward = 0.0 if worker.read(number) else None
                        self._blame(slot, number, reason, base, results, batches, reward)
        return [result for result in results if result is not None]

    def _batches(self, items: Sequence[Item], base: int) -> list[dict[int, Item]]:
        """Cut the items into messages of about _BATCH_SECONDS, but into at least as many as there are workers."""
        most = max(1, -(-len(items) // len(self._workers)))
        batches: list[dict[int, Item]] = []
        cost = float("inf")
        for number, item in enumerate(items, start=base):
            if cost >= _BATCH_SECONDS or len(batches[-1]) >= most:
                batches.append({})
                cost = 0.0
            batches[-1][number] = item
            cost += self._seconds.get(item[0], _FIRST_GUESS)
        return batches

    def _send(self, slot: int, batch: dict[int, Item], batches: deque[dict[int, Item]]) -> None:
        worker = self._workers[slot]
        try:
            worker.channel.send(list(batch.items()))
        except OSError:  # it exited while idle
            self._replace(slot)
            batches.appendleft(batch)
            return
        worker.open = dict(batch)
        worker.sent = time.monotonic()

    def _receive(
        self, slot: int, base: int, results: list[Result | None], batches: deque[dict[int, Item]]
    ) -> None:
        worker = self._workers[slot]
        try:
            verdicts, leaves = cast(tuple[list[Verdict], bool], worker.channel.recv())
        except (EOFError, OSError):
            if worker.open:
                self._stats.deaths += 1
                reason = "the grading process died (killed, or crashed in the grader)"
                self._blame(slot, worker.in_hand(), reason, base, results, batches)
            return
        for number, reward, reason, seconds in verdicts:
            name = worker.open.pop(number)[0]
            usual = self._seconds.get(name, seconds)
            self._seconds[name] = usual + 0.1 * (seconds - usual)
            self._note(number - base, Result(reward, reason, seconds), results)
        if leaves:
            # It exited after this item to free its memory: its successor gets the remaining items.
            rest = worker.open
            self._replace(slot)
            if rest:
                batches.appendleft(rest)

    def _blame(
        self,
        slot: int,
        number: int,
        reason: str,
        base: int,
        results: list[Result | None],
        batches: deque[dict[int, Item]],
        reward: float | None = None,
    ) -> None:
        """Replace a worker that hangs or died on `number`; its other items are graded again."""
        worker = self._workers[slot]
        seconds = max(0.0, worker.lasted())
        name = worker.open.pop(number)[0]
        self._note(number - base, Result(reward, f"grader {name!r}: {reason}", seconds), results)
        rest = worker.open
        self._replace(slot)
        if rest:
            batches.appendleft(rest)

    def _note(self, index: int, result: Result, results: list[Result | None]) -> None:
        results[index] = result
        self._count(result)

    def _count(self, result: Result) -> None:
        self._stats.busy_seconds += result.seconds
        if result.reward is None:
            self._stats.failures += 1
        else:
            self._stats.graded += 1

    def _replace(self, slot: int) -> None:
        self._workers[slot].end()
        self._stats.restarts += 1
        self._workers[slot] = self._nursery.fork()
