"""The grader actor: a thin shell around a pool of killable grading processes (`bots.graders.workers`)."""

from __future__ import annotations

import os
from collections.abc import Sequence

import ray

from bots.graders.code import CodeOptions
from bots.graders.judge import JudgeOptions
from bots.graders.waiting import Result
from bots.graders.worker import Item
from bots.graders.workers import Workers
from bots.sandbox import Limits


# If the actor dies, the caller (`actors.grader_pool`) has the ungraded completions graded again.
@ray.remote(max_restarts=-1)
class Grader:
    """Grades completions in `workers` processes on its node. Request `num_cpus=workers` when creating it.

    Args:
        workers: number of grading processes.
        time_limit: seconds for one grade; after that its process is killed and replaced.
        memory_limit: bytes that one grade may use.
        graders: names that will be used; the constructor imports them and checks their requirements.
        code_limits: fields of `bots.sandbox.Limits` for each tested program.
        code_total_seconds: for all tests of one completion.
        unsafe_code_without_sandbox: run model-written programs without a sandbox. Off by default.
        judge: the model that the grader `judge` uses.

    The constructor raises what `Workers` raises: an unknown grader, an impossible limit, no sandbox on this
    node.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        time_limit: float = 40.0,
        memory_limit: int = 2 << 30,
        graders: Sequence[str] = (),
        code_limits: dict[str, float] | None = None,
        code_total_seconds: float = 20.0,
        unsafe_code_without_sandbox: bool = False,
        judge: JudgeOptions | None = None,
    ) -> None:
        limits = Limits(**(code_limits or {}))  # type: ignore[arg-type]
        code = CodeOptions(limits, code_total_seconds, unsafe_code_without_sandbox)
        self._workers = Workers(
            workers,
            time_limit=time_limit,
            memory_limit=memory_limit,
            graders=graders,
            code=code,
            judge_by=judge,
        )

    def grade(self, items: list[Item]) -> list[Result]:
        """A result for each (grader's name, prompt, answer, completion), in order.

        The reward is None if the completion could not be graded.
        """
        return self._workers.grade(items)

    def stats(self) -> dict[str, float]:
        """graded, failures, timeouts, deaths, restarts, busy_seconds (see `workers.Stats`), workers."""
        return self._workers.stats()

    def pid(self) -> int:
        """Process id of the actor, which changes when it is restarted."""
        return os.getpid()

    def ready(self) -> bool:
        """True once the constructor has succeeded."""
        return True
