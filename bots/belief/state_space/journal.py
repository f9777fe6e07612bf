"""The recent steps' evidence and moments to go back to, so that late evidence counts as if it had been in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bots.belief.state_space.cells import Cells
from bots.belief.state_space.states import Moment
from bots.belief.state_space.tasks import Kept
from bots.support.observation import Observation

ROLLOUTS = 8.0
"""Rollouts a group is taken to have before one was seen."""


class ReplayJournal:
    """What was observed at each step, and what was believed before some of them.

    batches: by step. before: what tasks had before a step, by step. moments: the states just before a step's evidence,
    by step, and at -1 before any. Of n steps about 2·log₂ n moments are kept, so that going back over a steps
    computes at most about 2a again.

    window: steps behind the latest whose evidence may still come.
    """

    def __init__(self, window: int, origin: Moment) -> None:
        self.window = window
        self.clock = -1
        self.batches: dict[int, Observation] = {}
        self.before: dict[int, Kept] = {}
        self.moments: dict[int, Moment] = {-1: origin}

    def add(self, observation: Observation) -> None:
        """Merge new groups into those of their step."""
        step = observation.wave
        old = self.batches.get(step)
        if old is not None:
            parts = [np.concatenate(pair) for pair in zip(_arrays(old), _arrays(observation), strict=True)]
            order = np.argsort(parts[0], kind="stable")
            observation = Observation(step, *(part[order] for part in parts))
        self.batches[step] = observation

    @property
    def rollouts(self) -> float:
        """Mean number of rollouts of the latest batch's groups; before any, `ROLLOUTS`."""
        if not self.batches:
            return ROLLOUTS
        return float(self.batches[max(self.batches)].rollouts.mean())

    def start_of(self, step: int) -> int:
        """The moment to go back to for evidence of a step."""
        return max(moment for moment in self.moments if moment <= step)

    def since(self, moment: int) -> list[int]:
        """Steps with evidence from a moment on, rising."""
        return sorted(step for step in self.batches if step >= moment)

    def thin(self) -> None:
        """Drop moments that are close to others, and what no evidence can come before any more.

        Of three in a row the middle one is dropped if the oldest is at most twice as old as the newest, whatever
        numbers the steps have. As time passes that stays true.
        """
        oldest = max(0, self.clock - self.window + 1)
        base = self.start_of(oldest)
        *others, newest = sorted(m for m in self.moments if m >= base)
        kept = [newest]
        for place in range(len(others) - 1, -1, -1):
            too_close = place and self.clock + 1 - others[place - 1] <= 2 * (self.clock + 1 - kept[-1])
            if not too_close:
                kept.append(others[place])
        self.moments = {moment: self.moments[moment] for moment in sorted(kept)}
        for step in [s for s in self.batches if s < base]:
            del self.batches[step], self.before[step]

    def pad(self, cells: Cells) -> None:
        """The pool has new cells: earlier moments see them as they are now."""
        for moment in self.moments.values():
            for name in ("deviation", "variance"):
                old, now = moment[name], getattr(cells, name)
                moment[name] = np.append(old, now[len(old) :])

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return {
            "clock": self.clock,
            "batches": {str(step): list(_arrays(batch)) for step, batch in self.batches.items()},
            "before": {str(step): list(kept) for step, kept in self.before.items()},
            "moments": {str(step): dict(moment) for step, moment in self.moments.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.clock = int(state["clock"])
        self.batches = {int(s): Observation(int(s), *batch) for s, batch in state["batches"].items()}
        self.before = {int(step): Kept(*kept) for step, kept in state["before"].items()}
        self.moments = {int(step): Moment(moment) for step, moment in state["moments"].items()}


def _arrays(batch: Observation) -> tuple[npt.NDArray[Any], ...]:
    return batch.rows, batch.successes, batch.rollouts, batch.variance
