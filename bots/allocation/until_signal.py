"""Reinforce-Ada: sample a task in rounds until its group has signal."""

from __future__ import annotations

import numpy as np

from bots.allocation.base import Allocation, AllocationRequest
from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.support.arrays import Float64, Rows

EXITS = ("signal", "positive", "balanced")


class UntilSignal(Allocation):
    """Rounds of `size` completions until the group has enough signal or after `rounds` rounds.

    Source: Reinforce-Ada, arXiv 2510.04996, algorithm 1. until: when a group is complete: at least n/2 of each kind for
    `balanced` (Reinforce-Ada-balance), one success for `positive` (Reinforce-Ada-pos), or one of each for `signal`,
    the least that gives a gradient. A success is a reward above ½.

    Here a group trains on all of its completions. The paper draws n of them, half of each kind if possible, and takes
    mean and deviation over all. If every group has the same weight (`learner.group_weights`), nothing is thrown away.

    A wave's cost depends on the results of its rounds: between `size` and `size`·`rounds` completions per task. With
    costs, every task still gets `size` at first.

    size: completions per round; None: n/2, rounded up, at least `least`. The public code has rounds of 2n (8 for n =
    4), to train on n of them; here all are trained on. rounds: maximum number; the paper uses 4.
    """

    staged = True

    def __init__(
        self, pool: TaskPool, until: str = "signal", size: int | None = None, rounds: int = 4, least: int = 2
    ) -> None:
        super().__init__(pool, least)
        if until not in EXITS:
            raise ValueError(f"until is {until!r}; known are {', '.join(EXITS)}")
        for name, value, lowest in (("size", least if size is None else size, least), ("rounds", rounds, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {lowest}")
        self.until, self.size, self.rounds = until, size, rounds

    def bounds(self, rollouts: int) -> tuple[int, int]:
        """From one round to all rounds."""
        size = self._round(rollouts)
        if size > rollouts:
            raise ValueError(
                f"a round has {size} completions, more than the {rollouts} rollouts per task that the budget allows; "
                "lower `size`, or raise the number of rollouts"
            )
        return size, size * self.rounds

    def allocate(self, beliefs: Belief, request: AllocationRequest, rng: np.random.Generator) -> Rows:
        """The first round."""
        return np.full(len(request), self._round(request.rollouts), np.int64)

    def more(self, rewards: Float64, rollouts: int) -> int:
        """Another round, unless the group has its signal or has had all rounds."""
        size, successes = self._round(rollouts), int(np.count_nonzero(rewards > 0.5))
        failures = len(rewards) - successes
        if self.until == "positive":
            enough = successes >= 1
        else:
            each = rollouts / 2 if self.until == "balanced" else 1
            enough = min(successes, failures) >= each
        return 0 if enough or len(rewards) >= size * self.rounds else size

    def _round(self, rollouts: int) -> int:
        return max(self.least, -(-rollouts // 2)) if self.size is None else self.size
