"""Beliefs: the posterior's columns, one row per task, as NumPy arrays that Arrow shares without a copy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bots.belief.prior import Prior
from bots.pool import TaskPool

BLOCK = 32768
"""Rows per block: few enough that a block's columns stay in a core's cache."""


class Beliefs:
    """The belief about every task: 29 bytes per task, 37 with a prior by task.

    alpha, beta: float64 (K,), the Beta posterior.
    last_step: int32 (K,), the latest wave in which the task was observed; -1: never.
    observations: int32 (K,), number of waves in which it was observed.
    dispersion: float32 (K,), within-group reward variance over its greatest possible value r̄·(1-r̄), in
        [0, 1], averaged over the task's observations with factor ½; NaN while unknown. 1 for binary rewards.
    blocked: uint8 (K,), not 0 if the task must not be selected now.
    block_mass: float64 (ceil(K/BLOCK),), an upper bound of α+β in each block of BLOCK rows.
    block_prior_mass: float64, the greatest α0+β0 of each block.
    """

    def __init__(self, pool: TaskPool, prior: Prior) -> None:
        size = len(pool)
        self.pool = pool
        self.prior = prior
        self.alpha = np.empty(size)
        self.beta = np.empty(size)
        self.last_step = np.full(size, -1, np.int32)
        self.observations = np.zeros(size, np.int32)
        self.dispersion = np.full(size, np.nan, np.float32)
        self.blocked = np.zeros(size, np.uint8)
        prior.fill(self.alpha, self.beta, 0)
        self.block_prior_mass = self._greatest_mass()
        self.block_mass = self.block_prior_mass.copy()

    def __len__(self) -> int:
        return len(self.alpha)

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

    def mean(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Posterior mean α/(α+β) of the given rows."""
        mean: npt.NDArray[np.float64] = self.alpha[rows] / (self.alpha[rows] + self.beta[rows])
        return mean

    def table(self) -> pa.Table:
        """id, alpha, beta, last_step, observations, dispersion as an Arrow table on the same memory."""
        columns = {
            name: _as_arrow(getattr(self, name))
            for name in ("alpha", "beta", "last_step", "observations", "dispersion")
        }
        return pa.table({"id": self.pool.table["id"], **columns})

    def grow(self, pool: TaskPool, prior: Prior) -> None:
        """New rows at the end start at the prior; old rows keep their beliefs."""
        old = self.__dict__.copy()
        self.__init__(pool, prior)  # type: ignore[misc]
        for name in ("alpha", "beta", "last_step", "observations", "dispersion", "blocked"):
            getattr(self, name)[: len(old[name])] = old[name]
        self.block_mass = self._greatest_mass()


def _as_arrow(column: npt.NDArray[np.generic]) -> pa.Array:
    kind = pa.from_numpy_dtype(column.dtype)
    return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(column)])
