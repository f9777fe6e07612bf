"""Beliefs: the posterior's columns, one row per task, as NumPy arrays that Arrow shares without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bots.belief.base import NOTES, Belief
from bots.belief.prior import Prior
from bots.pool import TaskPool
from bots.support.arrays import Float64, Rows
from bots.support.observation import Observation

BLOCK = 32768
"""Rows per block: few enough that a block's columns stay in a core's cache."""


class Beliefs(Belief):
    """The Beta update's columns: 29 bytes a task, 37 with a prior by task. See `Belief` for those of every belief.

    alpha, beta: float64 (K,), the Beta posterior.
    block_mass: float64 (ceil(K/BLOCK),), an upper bound of α+β within each block of BLOCK rows.
    block_prior_mass: float64, the greatest α0+β0 of each block.
    """

    def __init__(self, pool: TaskPool, prior: Prior) -> None:
        super().__init__(pool, prior)
        self.alpha = np.empty(len(pool))
        self.beta = np.empty(len(pool))
        prior.fill(self.alpha, self.beta, 0)
        self.block_prior_mass = self._greatest_mass()
        self.block_mass = self.block_prior_mass.copy()

    def bound_mass(self) -> None:
        """Recompute `block_mass` from α and β."""
        self.block_mass[:] = self._greatest_mass()

    def _greatest_mass(self) -> npt.NDArray[np.float64]:
        """The greatest α+β of each block."""
        return np.array(
            [
                (self.alpha[start : start + BLOCK] + self.beta[start : start + BLOCK]).max()
                for start in range(0, len(self), BLOCK)
            ]
        )

    def note(self, observation: Observation) -> None:
        """See `Belief`; the mass bound of the groups' blocks too."""
        rows = observation.rows
        np.maximum.at(self.block_mass, rows // BLOCK, self.alpha[rows] + self.beta[rows])
        super().note(observation)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """See `Belief`."""
        return {"alpha": self.alpha, "beta": self.beta, **super().columns()}

    def state_dict(self) -> dict[str, Any]:
        """What is not a column."""
        return {"block_mass": self.block_mass}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.block_mass[:] = state["block_mass"]

    def mean(self, rows: Rows) -> Float64:
        """Posterior mean α/(α+β) of the given rows."""
        mean: Float64 = self.alpha[rows] / (self.alpha[rows] + self.beta[rows])
        return mean

    def deviation(self, rows: Rows) -> Float64:
        """Posterior standard deviation of the given rows."""
        mean, mass = self.mean(rows), self.alpha[rows] + self.beta[rows]
        deviation: Float64 = np.sqrt(mean * (1 - mean) / (mass + 1))
        return deviation

    def grow(self, pool: TaskPool, prior: Prior) -> None:
        """New rows at the end start at the prior; old rows keep their beliefs."""
        old = self.__dict__.copy()
        self.__init__(pool, prior)  # type: ignore[misc]
        for name in ("alpha", "beta", *NOTES, "blocked"):
            getattr(self, name)[: len(old[name])] = old[name]
        self.block_mass = self._greatest_mass()
