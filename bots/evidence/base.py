"""What a source of implicit evidence is: it sees the batch's pass rates and predicts all others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from bots.pool import TaskPool
from bots.support.arrays import Float32, Float64, Rows


class Evidence(ABC):
    """Implicit evidence (paper, section on implicit evidence; ALGORITHM section 3).

    At each step `observe` gets the batch's pass rates, then `predict` is asked for p̃ of the whole pool,
    block by block, so that nothing of the pool's size is ever made. A task for which `predict` gives
    NaN has no implicit evidence at this step.

    A user's own plug-in is a subclass, named "module:Class" in the configuration, and constructed as
    `cls(pool, **params)`. `bots.evidence.conformance` holds checks that its author can run.

    pool: the tasks; keep what is needed of it, a plug-in must not change it.
    Raises ValueError if the pool lacks what the plug-in needs (say which column).
    """

    def __init__(self, pool: TaskPool) -> None:
        self.pool = pool

    @abstractmethod
    def observe(self, step: int, rows: Rows, p_hat: Float64, n: Float64) -> None:
        """Learn from the observed pass rates of one batch.

        step: the training step; usually rising, but late batches come with an older one.
        rows: int64 (B,), distinct, in [0, len(pool)).
        p_hat: float64 (B,), pass rates (mean rewards) in [0, 1].
        n: float64 (B,), rollouts behind each, > 0.
        The caller has checked all this; B ≥ 1. Must not raise.
        """

    @abstractmethod
    def predict(self, start: int, stop: int, out: Float32) -> None:
        """Write p̃ of rows start … stop-1 into out, float32 (stop-start,): in [0, 1], or NaN for none.

        Must not change any state: it is called from several threads at once, for disjoint blocks.
        """

    def predict_rows(self, rows: Rows) -> Float32:
        """p̃ of some rows, float32 (len(rows),), the same as `predict` gives. Override it where slow."""
        out = np.empty(len(rows), np.float32)
        for i, row in enumerate(rows.tolist()):
            self.predict(row, row + 1, out[i : i + 1])
        return out

    def grow(self, pool: TaskPool) -> None:
        """The pool gained rows at the end; the old rows keep their numbers. Extend what is held by row."""
        self.pool = pool

    def state_dict(self) -> dict[str, Any]:
        """Everything learnt: JSON values and NumPy arrays, so that `load_state_dict` restores exactly."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, for a plug-in constructed with the same pool and parameters."""
        if state:
            raise ValueError(f"{type(self).__name__} holds no state, but got {', '.join(state)}")

    def metrics(self) -> dict[str, float]:
        """A few numbers to log, e.g. the capability coefficient μ̃."""
        return {}
