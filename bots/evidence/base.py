"""What a source of implicit evidence is: it sees the batch's pass rates and predicts all others."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np

from bots.observation import Observation
from bots.pool import TaskPool
from bots.support.arrays import Float32, Rows


class Evidence(ABC):
    """Implicit evidence: predicts every task's pass rate from the batch's (arXiv 2510.26374).

    For each batch `observe` gets the pass rates, then `predict` is called for p̃ of the whole pool, block by block,
    so that no array of the pool's size is allocated. A task whose p̃ is NaN gets no implicit evidence.

    A user's own plug-in is a subclass, named "module:Class" in the configuration, and constructed as
    `cls(pool, **params)`. `bots.evidence.conformance` holds checks that its author can run.

    pool: the tasks; keep what is needed of it, a plug-in must not change it.
    Raises ValueError if the pool lacks what the plug-in needs (say which column).
    """

    def __init__(self, pool: TaskPool) -> None:
        self.pool = pool

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if len(signature(cls.observe).parameters) == len(("self", "step", "rows", "p_hat", "n")):
            # Plug-ins written before `Observation` keep working.
            cls.observe = _unpacking(cls)  # type: ignore[method-assign, assignment]

    @abstractmethod
    def observe(self, observation: Observation) -> None:
        """Learn from the observed pass rates of one batch, B ≥ 1 distinct tasks of the pool.

        The caller has checked the values; this must not raise.
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


def _unpacking(cls: type[Evidence]) -> Callable[[Evidence, Observation], None]:
    """An `observe` that calls the class's own with (wave, rows, pass rates, rollouts)."""
    old: Callable[..., None] = cls.observe
    warnings.warn(
        f"{cls.__name__}.observe takes (step, rows, p_hat, n); make it observe(observation), "
        "see bots.observation.Observation",
        DeprecationWarning,
        stacklevel=3,
    )

    def observe(self: Evidence, observation: Observation) -> None:
        rates = observation.pass_rates
        old(self, observation.wave, observation.rows, rates, observation.rollouts)

    return observe
