"""DPS: a hidden Markov model of how far each task is solved."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector
from bots.selection.ranking import best, checked_candidates, free_rows, positive
from bots.support.arrays import Float64, Rows
from bots.support.observation import Observation

STATES = 3
UNSOLVED, PARTIAL, SOLVED = range(STATES)
SETTLED = 64
"""After so many waves without an observation the state no longer changes noticeably."""


class DPS(Selector):
    """Takes the candidates most likely to be partly solved at the next step.

    Source: Dynamics-Predictive Sampling (Mao et al. 2026, arXiv 2603.10887, section 4; public code
    github.com/maoyixiu/DPS). Each task is unsolved (all wrong), partly solved or solved (all right). Its transition
    matrix P(next = i | now = j) has Dirichlet columns with the counts A (3, 3) and the mean P = A/ΣᵢA. With µ the state
    at the last step and π the prediction for this one, a step does

        observed, y:       A ← γA + (1-γ)A₀ + Ξ,  Ξ ∝ (e_y µᵀ) ∘ P,  ΣΞ = 1;   µ ← e_y,   π ← P e_y
        not observed:      A ← γA + (1-γ)A₀;                                    µ ← π,     π ← P π

    with the new A in the last product. π is uniform at first. The score is π[partly solved]; ties are broken at random.

    A group of equal rewards is solved if they are above ½, else unsolved, so that rewards need not be binary. Tasks
    never observed keep the uniform π and cost no memory; others 130 bytes. Late groups count when they arrive.
    The beliefs are not used, nor is p*.

    retention: γ, in [0, 1]; 0.5 in the public scripts for Countdown and geometry, 0.7 for mathematics. prior: A₀, the
    same for all transitions. candidates: how many tasks are drawn at random and scored, as a multiple of the batch (8
    and 32 in the same scripts); None: all.
    """

    def __init__(
        self, pool: TaskPool, retention: float = 0.5, prior: float = 1.0, candidates: int | None = 8
    ) -> None:
        super().__init__(pool)
        if not 0 <= retention <= 1:
            raise ValueError(f"retention is {retention}; it must be in [0, 1], and 1 forgets nothing")
        self.retention, self.prior = float(retention), positive("prior", prior)
        self.candidates = checked_candidates(candidates)
        self._place: npt.NDArray[np.int32] = np.full(len(pool), -1, np.int32)
        """int32 (K,): each task's place in `records`; -1: never observed."""
        self._size = 0
        self._reserve(256)

    def _reserve(self, tasks: int) -> None:
        """Arrays with room for `tasks` records, those of tasks that were never observed."""
        self._rows: Rows = np.zeros(tasks, np.int64)
        self._counts: Float64 = np.full((tasks, STATES, STATES), self.prior)
        self._before: Float64 = np.full((tasks, STATES), 1 / STATES)
        self._state: Float64 = np.full((tasks, STATES), 1 / STATES)
        self._due: npt.NDArray[np.int64] = np.zeros(tasks, np.int64)

    @property
    def records(self) -> dict[str, npt.NDArray[Any]]:
        """Views of the records of the M observed tasks, in the order of their first observation.

        rows: int64 (M,). counts: A, float64 (M, 3, 3), next state by state now. before: µ, state: π, float64 (M, 3).
        due: int64 (M,), the wave that π is a prediction for.
        """
        names = ("rows", "counts", "before", "state", "due")
        return {name: getattr(self, f"_{name}")[: self._size] for name in names}

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        from bots.selection.markov import advance  # numba takes a while to import

        own = self.records
        model = own["counts"], own["before"], own["state"], own["due"]
        advance(*model, request.wave, SETTLED, self.retention, self.prior)
        rows = free_rows(beliefs, request, rng, self.candidates)
        return best(rows, self.partial(rows), request.batch, rng)

    def partial(self, rows: Rows) -> Float64:
        """Predicted probability that each row is partly solved, float64 (R,)."""
        place = self._place[rows]
        known = place >= 0
        chance = np.full(len(rows), 1 / STATES)
        chance[known] = self._state[place[known], PARTIAL]
        return chance

    def _forget(self, places: npt.NDArray[np.integer[Any]]) -> None:
        self._counts[places] = self.retention * self._counts[places] + (1 - self.retention) * self.prior

    def _transitions(self, places: npt.NDArray[np.integer[Any]]) -> Float64:
        """P, float64 (R, 3, 3): expected transition matrices."""
        counts = self._counts[places]
        mean: Float64 = counts / counts.sum(axis=1, keepdims=True)
        return mean

    def observe(self, observation: Observation) -> None:
        """See Selector."""
        rows = observation.rows
        self._admit(rows[self._place[rows] < 0])
        place = self._place[rows]
        flat = observation.variance == 0
        seen = np.where(flat, np.where(observation.pass_rates > 0.5, SOLVED, UNSOLVED), PARTIAL)
        here = np.arange(len(rows))
        shift = np.zeros((len(rows), STATES, STATES))
        shift[here, seen] = self._before[place] * self._transitions(place)[here, seen]
        self._forget(place)
        self._counts[place] += shift / shift.sum(axis=(1, 2), keepdims=True)
        self._before[place] = np.eye(STATES)[seen]
        self._state[place] = self._transitions(place)[here, :, seen]
        self._due[place] = np.maximum(self._due[place], observation.wave + 1)

    def _admit(self, rows: Rows) -> None:
        """Start records for tasks that have none."""
        size = self._size + len(rows)
        if size > len(self._rows):
            self._restore(self.records, room=2 * size)
        self._rows[self._size : size] = rows
        self._place[rows] = np.arange(self._size, size)
        self._size = size

    def _restore(self, records: dict[str, Any], room: int) -> None:
        """Copy records into new arrays with room for `room`."""
        self._reserve(room)
        self._size = len(records["rows"])
        for name, column in self.records.items():
            column[:] = records[name]

    def grow(self, pool: TaskPool) -> None:
        """New tasks have no record."""
        self._place = np.append(self._place, np.full(len(pool) - len(self._place), -1, np.int32))
        super().grow(pool)

    def state_dict(self) -> dict[str, Any]:
        """The records of the tasks that were observed."""
        return {name: column.copy() for name, column in self.records.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Selector."""
        self._restore(state, room=max(256, 2 * len(state["rows"])))
        self._place[:] = -1
        self._place[self._rows[: self._size]] = np.arange(self._size)

    def metrics(self) -> dict[str, float]:
        """How many tasks were observed, and the mean predicted share of each state among them."""
        values = {"observed": float(self._size)}
        if self._size:
            names = ("unsolved", "partial", "solved")
            values |= dict(zip(names, self.records["state"].mean(axis=0).tolist(), strict=True))
        return values
