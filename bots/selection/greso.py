"""GRESO: uniform epochs that skip tasks whose recent groups had no signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.selection.base import SelectionRequest
from bots.selection.random import Random
from bots.support.arrays import Rows
from bots.support.observation import Observation

LEAST = 0.01
"""Least chance that a task is not skipped, so that none is lost (GRESO's public code)."""
RANGE = (0.05, 0.95)
"""Bounds of p_easy and p_hard (GRESO's public code)."""


class GRESO(Random):
    """Uniform without replacement within an epoch, but a task is skipped, for this epoch, with probability

        1 - p^z

    where z is the number of its latest consecutive groups without signal: all right (p = p_easy), or all wrong
    (p = p_hard). Source: GRESO (Zheng et al. 2025, arXiv 2506.02177, section 4.2; public code
    github.com/Infini-AI-Lab/GRESO).

    After each wave, from the second epoch on, p_easy falls by `step` if at least `target`/3 of the groups were all
    right, else it rises by `step`; likewise p_hard with ⅔ of `target` (section 4.3).

    The paper combines this with dynamic sampling and a refill sized by the share of groups without signal: set
    `selection.dynamic` for both. Groups of one rollout count for nothing. A group of equal rewards is all right if they
    are above ½. A selection that has drawn one epoch's worth of tasks no longer skips.

    p_easy, p_hard: at first. target: share of groups without signal to aim at. step: of p_easy and p_hard.
    """

    def __init__(
        self,
        pool: TaskPool,
        p_easy: float = 0.5,
        p_hard: float = 0.5,
        target: float = 0.25,
        step: float = 0.01,
    ) -> None:
        super().__init__(pool)
        for name, value in (("p_easy", p_easy), ("p_hard", p_hard)):
            if not RANGE[0] <= value <= RANGE[1]:
                raise ValueError(f"{name} is {value}; it must be in [{RANGE[0]}, {RANGE[1]}]")
        if not 0 < target < 1:
            raise ValueError(f"target is {target}; it must be a share greater than 0 and less than 1")
        if not 0 <= step < 1:
            raise ValueError(f"step is {step}; it must be in [0, 1), and 0 keeps p_easy and p_hard")
        self.p_easy, self.p_hard, self.target, self.step = float(p_easy), float(p_hard), target, step
        self.streak: npt.NDArray[np.int16] = np.zeros(len(pool), np.int16)
        """int16 (K,): latest consecutive groups without signal, > 0 all right, < 0 all wrong."""
        self._wave, self._skipped, self._patience = -1, 0, 0
        self._arrived = [0, 0, 0]  # groups all right, all wrong, and in all since the latest wave

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        if request.wave > self._wave:
            self._adjust()
            self._wave, self._skipped = request.wave, 0
        self._patience = len(beliefs)
        return super().select(beliefs, request, rng)

    def _skips(self, row: int, rng: np.random.Generator) -> bool:
        self._patience -= 1
        z = int(self.streak[row])
        if z == 0 or self._patience < 0:
            return False
        skipped = bool(rng.random() >= max((self.p_easy if z > 0 else self.p_hard) ** abs(z), LEAST))
        self._skipped += skipped
        return skipped

    def _adjust(self) -> None:
        """Move p_easy and p_hard by the groups that arrived since they last moved."""
        right, wrong, groups = self._arrived
        self._arrived = [0, 0, 0]
        if groups == 0 or max((epoch["number"] for epoch in self._epochs.values()), default=0) == 0:
            return
        for name, count, share in (
            ("p_easy", right, self.target / 3),
            ("p_hard", wrong, 2 * self.target / 3),
        ):
            move = -self.step if count / groups >= share else self.step
            setattr(self, name, float(np.clip(getattr(self, name) + move, *RANGE)))

    def observe(self, observation: Observation) -> None:
        """See Selector."""
        told = observation.only(observation.rollouts > 1)
        flat = told.variance == 0
        right, wrong = flat & (told.pass_rates > 0.5), flat & (told.pass_rates <= 0.5)
        old = self.streak[told.rows].astype(np.int64)
        new = np.where(right, np.maximum(old, 0) + 1, np.where(wrong, np.minimum(old, 0) - 1, 0))
        bound = np.iinfo(np.int16).max
        self.streak[told.rows] = np.clip(new, -bound, bound)
        for place, count in enumerate((right.sum(), wrong.sum(), len(told))):
            self._arrived[place] += int(count)

    def grow(self, pool: TaskPool) -> None:
        """New tasks have no record."""
        self.streak = np.append(self.streak, np.zeros(len(pool) - len(self.streak), np.int16))
        super().grow(pool)

    def state_dict(self) -> dict[str, Any]:
        """The epochs, each task's record, p_easy and p_hard, and what arrived since they moved."""
        own = {"p_easy": self.p_easy, "p_hard": self.p_hard, "wave": self._wave, "skipped": self._skipped}
        return {**super().state_dict(), **own, "streak": self.streak.copy(), "arrived": list(self._arrived)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Selector."""
        super().load_state_dict(state)
        self.streak = np.array(state["streak"], np.int16)
        self.p_easy, self.p_hard = float(state["p_easy"]), float(state["p_hard"])
        self._wave, self._skipped = int(state["wave"]), int(state["skipped"])
        self._arrived = [int(count) for count in state["arrived"]]

    def metrics(self) -> dict[str, float]:
        """Epochs, p_easy, p_hard, and the tasks skipped in the latest wave."""
        own = {"p_easy": self.p_easy, "p_hard": self.p_hard, "skipped": float(self._skipped)}
        return {**super().metrics(), **own}
