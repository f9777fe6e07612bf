"""What the state-space belief keeps of each task: its stratum, its residual, and how much it was trained on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bots.belief.state_space import kernels
from bots.support.arrays import Float32, Float64, Rows

FADE = 0.98
"""Share of what training on a task itself did to it that is left after a step."""


class Residuals(NamedTuple):
    """Of some rows: the residual's mean and variance, and the signal that the task itself was trained with, faded."""

    mean: Float64
    variance: Float64
    trained: Float64


class Kept(NamedTuple):
    """The stored values of some rows, to go back to."""

    rows: Rows
    own: Float32
    own_variance: Float32
    trained: Float32
    last_step: npt.NDArray[np.int32]


class Tasks:
    """24 bytes a task beside the columns of every belief (13).

    stratum: int32 (K,). order: int32 (K,), rows by stratum, in each the observed first; place: int32 (K,), its inverse.
    starts: int64 (S+1,), where strata begin in `order`. asked: int64 (S,), observed tasks of each.
    own, own_variance: float32 (K,), the residual when it was last observed. trained: float32 (K,), Σ 4·variance of its
    groups' rewards, faded to then. Residuals return to the prior at the rate `widening` a step.
    """

    def __init__(self, stratum: npt.NDArray[np.int32], strata: int, residual: float, widening: float) -> None:
        size = len(stratum)
        self.residual, self.keep = residual, 1 - widening
        self.own = np.zeros(size, np.float32)
        self.own_variance = np.full(size, residual, np.float32)
        self.trained = np.zeros(size, np.float32)
        self.sort(stratum, strata, np.zeros(size, bool))

    def sort(self, stratum: npt.NDArray[np.int32], strata: int, seen: npt.NDArray[np.bool_]) -> None:
        """Set the order from scratch."""
        self.stratum = stratum
        self.starts = np.zeros(strata + 1, np.int64)
        np.cumsum(np.bincount(stratum, minlength=strata), out=self.starts[1:])
        self.order = np.empty(len(stratum), np.int32)
        self.asked = np.zeros(strata, np.int64)
        kernels.sort_by_stratum(stratum, self.starts, seen, self.order, self.asked)
        self._invert()

    def _invert(self) -> None:
        self.place = np.empty(len(self.order), np.int32)
        self.place[self.order] = np.arange(len(self.order), dtype=np.int32)

    def restore(self, order: npt.NDArray[np.int32], asked: Rows) -> None:
        """Take the order of a snapshot."""
        self.order[:], self.asked[:] = order, asked
        self._invert()

    def residuals(self, rows: Rows, last_step: npt.NDArray[np.int32], clock: int) -> Residuals:
        """Of the rows at the step `clock`."""
        return Residuals(
            *kernels.residuals(
                rows,
                self.own,
                self.own_variance,
                self.trained,
                last_step,
                clock,
                self.keep,
                FADE,
                self.residual,
            )
        )

    def ask(self, rows: Rows) -> None:
        """The rows have been observed."""
        kernels.mark_asked(rows, self.stratum, self.starts, self.order, self.place, self.asked)

    def asked_rows(self) -> Rows:
        """All rows that were ever observed, int64."""
        length = self.asked
        offsets = np.repeat(self.starts[:-1] - np.cumsum(length) + length, length)
        rows: Rows = self.order[offsets + np.arange(int(length.sum()))].astype(np.int64)
        return rows

    def latest(self, cell: Rows, cells: int, last_step: npt.NDArray[np.int32]) -> Rows:
        """Step at which each cell was last observed, int64 (C,); -1: never. cell: of each stratum, int64 (S,)."""
        steps = np.full(cells, -1, np.int64)
        kernels.latest(self.starts, self.asked, self.order, last_step, cell, steps)
        return steps

    def free(self, blocked: Rows) -> Rows:
        """Tasks of each stratum that were never observed and are not among the blocked: int64 (S,)."""
        strata = self.stratum[blocked]
        fresh = self.place[blocked] >= self.starts[strata] + self.asked[strata]
        free: Rows = np.diff(self.starts) - self.asked - np.bincount(strata[fresh], minlength=len(self.asked))
        return free

    def kept(self, rows: Rows, last_step: npt.NDArray[np.int32]) -> Kept:
        """Copies of what is stored of the rows."""
        return Kept(rows, self.own[rows], self.own_variance[rows], self.trained[rows], last_step[rows])

    def put_back(self, kept: Kept, last_step: npt.NDArray[np.int32]) -> None:
        """Undo what came after `kept`."""
        rows = kept.rows
        self.own[rows], self.own_variance[rows], self.trained[rows] = (
            kept.own,
            kept.own_variance,
            kept.trained,
        )
        last_step[rows] = kept.last_step

    def grow(self, stratum: npt.NDArray[np.int32], strata: int, seen: npt.NDArray[np.bool_]) -> None:
        """More tasks at the end."""
        new = len(stratum) - len(self.own)
        self.own = np.append(self.own, np.zeros(new, np.float32))
        self.own_variance = np.append(self.own_variance, np.full(new, self.residual, np.float32))
        self.trained = np.append(self.trained, np.zeros(new, np.float32))
        self.sort(stratum, strata, seen)
