"""The recent steps: who was selected and who was observed, so that late and repeated evidence is exact."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bots.support.arrays import Rows


def _none() -> Rows:
    return np.empty(0, np.int64)


@dataclass
class Step:
    """One step. All row arrays are sorted and distinct.

    selected: rows drawn at this step. observed: rows whose evidence of this step has arrived.
    open: selected and not yet observed.
    awaited: rows that were selected but not yet observed when the step's implicit evidence was given, so
        that they got none of it.
    counted: whether the first evidence of this step has arrived.
    lam, rho: as they were then; lam is the forgetting since the previous counted step.
    implicit: whether implicit evidence was given.
    """

    selected: Rows = field(default_factory=_none)
    observed: Rows = field(default_factory=_none)
    open: Rows = field(default_factory=_none)
    awaited: Rows = field(default_factory=_none)
    counted: bool = False
    lam: float = 0.0
    rho: float = 0.0
    implicit: bool = False

    def select(self, rows: Rows) -> None:
        """Rows were drawn for this step."""
        self.selected = np.union1d(self.selected, rows)
        self.open = np.setdiff1d(self.selected, self.observed, assume_unique=True)

    def observe(self, rows: Rows) -> None:
        """Evidence of rows has arrived."""
        self.observed = np.union1d(self.observed, rows)
        self.open = np.setdiff1d(self.selected, self.observed, assume_unique=True)

    def awaits(self, rows: Rows) -> bool:
        """Whether all of the sorted rows are open."""
        # The first row settles it for almost every step that is not theirs.
        for part in (rows[:1], rows):
            at = np.searchsorted(self.open, part)
            if at[-1] == len(self.open) or (self.open[at] != part).any():
                return False
        return True


class History:
    """Steps by number; those more than `window` steps behind the clock are dropped.

    clock: the latest step whose evidence was counted; -1 before the first.
    """

    def __init__(self, window: int) -> None:
        if window < 1:
            raise ValueError(f"history is {window}; it must be at least 1 step")
        self.window = window
        self.clock = -1
        self.steps: dict[int, Step] = {}

    @property
    def oldest(self) -> int:
        """The oldest step whose evidence is still taken."""
        return max(0, self.clock - self.window + 1)

    def at(self, step: int) -> Step:
        """The record of a step, made if it is not there."""
        return self.steps.setdefault(step, Step())

    def next_step(self) -> int:
        """The step after the latest one that was selected or observed."""
        return max([self.clock, *self.steps]) + 1

    def step_of(self, rows: Rows) -> int:
        """The step that an observation without a step belongs to.

        That is the oldest step whose selection holds all its rows and awaits them, else the step after
        the clock.
        """
        for step in sorted(s for s, record in self.steps.items() if len(record.open) >= len(rows)):
            if self.steps[step].awaits(rows):
                return step
        return self.clock + 1

    def retention(self, step: int) -> float:
        """Share of evidence of `step` that is left at the clock: Π (1-λ) over the steps in between."""
        counted = sorted(s for s, record in self.steps.items() if record.counted)
        left, previous = 1.0, step
        for later in counted[bisect_left(counted, step + 1) :]:
            left *= (1 - self.steps[later].lam) ** (later - previous)
            previous = later
        return left

    def following_lam(self, step: int) -> float:
        """λ of the first counted step after `step`, which is what was forgotten with across the gap."""
        return self.steps[min(s for s, record in self.steps.items() if record.counted and s > step)].lam

    def recent(self, step: int, steps: int) -> Rows:
        """Rows selected or observed in the given number of steps before `step`, distinct."""
        found = [
            rows
            for number, record in self.steps.items()
            if step - steps <= number < step
            for rows in (record.selected, record.observed)
        ]
        return np.unique(np.concatenate(found)) if found else _none()

    def prune(self) -> None:
        """Drop the steps that are behind the window."""
        for step in [s for s in self.steps if s < self.oldest]:
            del self.steps[step]

    def state_dict(self) -> dict[str, Any]:
        """Clock and records, as numbers and arrays."""
        return {"clock": self.clock, "steps": {str(s): vars(r).copy() for s, r in self.steps.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.clock = state["clock"]
        self.steps = {int(s): Step(**record) for s, record in state["steps"].items()}
