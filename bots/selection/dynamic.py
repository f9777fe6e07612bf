"""DAPO's dynamic sampling with any selector: drop groups with equal rewards and refill the batch."""

from __future__ import annotations

from math import ceil
from typing import Literal

import numpy as np
import numpy.typing as npt

from bots.support.arrays import Rows
from bots.support.checks import whole


class DynamicFilter:
    """Collects one batch of groups that have a gradient (DAPO, arXiv 2503.14476, section 3.2).

        filter = DynamicFilter(batch=32)
        while wanted := filter.wanted():
            rows = bots.select(wanted, step, exclude=filter.seen)
            rewards = ...                              # roll out and grade
            bots.observe(rows, rewards, step)          # dropped groups are evidence too
            filter.add(rows, rewards)
        train on filter.kept

    batch: groups to train on. oversample: first request over batch, ≥ 1; None: 1.5.
        1 costs least behind a selector that foresees signal.
    least_deviation: a group is kept if its rewards' standard deviation is greater than this (0: not all equal).
    rounds: after this many rounds the batch is used as it is, possibly smaller than `batch` (see `complete`).
    refill: "rounds": a request is the number of missing groups over the share kept so far, once the groups of the last
        one are graded. "each": one task for each group without signal, as soon as that is known, so that no group is
        beyond a full batch; oversample is 1, and at most rounds · batch tasks are requested.
    """

    def __init__(
        self,
        batch: int,
        oversample: float | None = None,
        least_deviation: float = 0.0,
        rounds: int = 4,
        refill: Literal["rounds", "each"] = "rounds",
    ) -> None:
        batch, rounds = whole("batch", batch, 1), whole("rounds", rounds, 1)
        if refill not in ("rounds", "each"):
            raise ValueError(f'refill is {refill!r}; it must be "rounds" or "each"')
        if oversample is None:
            oversample = 1.0 if refill == "each" else 1.5
        if not 1 <= oversample < np.inf:
            raise ValueError(f"oversample is {oversample}; it must be a finite number ≥ 1")
        if refill == "each" and oversample != 1:
            raise ValueError(f'oversample is {oversample}; with refill="each" it must be 1, or left out')
        if not 0 <= least_deviation < 0.5:
            raise ValueError(f"least_deviation is {least_deviation}; it must be in [0, 0.5)")
        self.batch, self.oversample = batch, oversample
        self.least_deviation, self.rounds, self.refill = least_deviation, rounds, refill
        self.round = 0
        self.kept: Rows = np.empty(0, np.int64)
        self.seen: Rows = np.empty(0, np.int64)

    @property
    def complete(self) -> bool:
        """Whether the batch is full."""
        return len(self.kept) == self.batch

    @property
    def most(self) -> int:
        """How many tasks are requested at most, in all rounds together."""
        return ceil(self.batch * self.oversample) * self.rounds

    def wanted(self, in_progress: int = 0, lost: int = 0) -> int:
        """How many tasks to select next; 0 when the batch is full or the rounds are used up.

        A refill is at most as large as the first request. With refill="each" groups may be added one by one, and both
        count: in_progress: tasks requested and not added yet. lost: requested, and never to be added.
        """
        if self.refill == "each":
            missing = self.batch - len(self.kept) - in_progress
            return max(0, min(missing, self.most - len(self.seen) - in_progress - lost))
        if self.complete or self.round == self.rounds:
            return 0
        first = ceil(self.batch * self.oversample)
        if not len(self.seen):
            return first
        kept_share = max(len(self.kept) / len(self.seen), 1 / len(self.seen))
        return min(first, ceil((self.batch - len(self.kept)) / kept_share))

    def add(
        self, rows: Rows, rewards: list[npt.ArrayLike] | npt.NDArray[np.float64]
    ) -> npt.NDArray[np.bool_]:
        """Add one round's groups, or any with refill="each". Returns bool (len(rows),): which to train on.

        Groups beyond a full batch are left out too, in the order given.
        """
        groups = [np.asarray(group, np.float64) for group in rewards]
        # Equal rewards such as 0.1 deviate from their mean by rounding.
        deviations = [float(group.std()) if group.min() < group.max() else 0.0 for group in groups]
        varied = np.array(deviations, np.float64) > self.least_deviation
        keep = varied & (np.cumsum(varied) <= self.batch - len(self.kept))
        self.kept = np.concatenate([self.kept, np.asarray(rows, np.int64)[keep]])
        self.seen = np.concatenate([self.seen, np.asarray(rows, np.int64)])
        self.round += 1
        return keep
