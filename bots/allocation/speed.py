"""SPEED-RL: a few completions to screen a task, the rest where they differ."""

from __future__ import annotations

import numpy as np

from bots.allocation.base import Allocation, AllocationRequest
from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.support.arrays import Float64, Rows


class Speed(Allocation):
    """Screens each task with a few completions, and completes the group to n only if their rewards differ.

    Source: SPEED-RL (Zhang et al. 2025, arXiv 2506.09016, algorithm 1; public code github.com/Zanette-Labs/speed-rl):
    N_init completions of each task, N_cont more of those with 0 < pass rate < 1, and training on all N_init + N_cont
    of these. n is N_init + N_cont here, and `screening` N_init: 8 of 24 in the public script for the smaller model, 4
    of 24 in that for the larger one.

    A group that fails has no gradient. The paper takes it out of the batch and screens other tasks; that is
    `selection.dynamic`. It also screens the next batch's tasks in the same request as it completes this one's, keeps
    complete groups beyond a batch for later ones, and screens four times a batch at once; here the engines get each
    round as it comes, and `selection.dynamic` leaves out what is beyond a batch. A wave costs between `screening` and n
    completions per task.

    screening: completions of the first round; None: a third of n, rounded up, at least `least`.
    """

    staged = True

    def __init__(self, pool: TaskPool, screening: int | None = None, least: int = 2) -> None:
        super().__init__(pool, least)
        if screening is not None and (
            isinstance(screening, bool) or not isinstance(screening, int) or screening < least
        ):
            raise ValueError(f"screening is {screening!r}; it must be a whole number of at least {least}")
        self.screening = screening

    def bounds(self, rollouts: int) -> tuple[int, int]:
        """From the screening to n."""
        size = self._first(rollouts)
        if size >= rollouts:
            raise ValueError(
                f"screening takes {size} completions, but a group has only {rollouts} rollouts in all; lower "
                "`screening`, or raise the number of rollouts"
            )
        return size, rollouts

    def allocate(self, beliefs: Belief, request: AllocationRequest, rng: np.random.Generator) -> Rows:
        """The screening."""
        return np.full(len(request), self._first(request.rollouts), np.int64)

    def more(self, rewards: Float64, rollouts: int) -> int:
        """The rest of the group if the rewards differ."""
        if len(rewards) >= rollouts or rewards.min() == rewards.max():
            return 0
        return rollouts - len(rewards)

    def _first(self, rollouts: int) -> int:
        return max(self.least, -(-rollouts // 3)) if self.screening is None else self.screening
