"""What every belief keeps about every task, and what a belief model is beside the Beta update of the paper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bots.belief.prior import Prior
from bots.pool import TaskPool
from bots.support.arrays import Float64, Rows
from bots.support.observation import Observation

NOTES = ("last_step", "observations", "dispersion")


class Belief:
    """The columns that selectors and reports read, whatever stands behind them.

    alpha, beta: float64 (K,), the Beta belief, or the Beta with the same mean and variance. Read-only outside.
    last_step: int32 (K,), the latest step at which the task was observed; -1: never.
    observations: int32 (K,), at how many steps it was observed.
    dispersion: float32 (K,), within-group reward variance over its greatest possible value r̄·(1-r̄), in
        [0, 1], averaged over the task's observations with factor ½; NaN while unknown. 1 for binary rewards.
    blocked: uint8 (K,), bits of the reasons why a task must not be selected now; 0: it may.
    blocked_rows: int64, the rows with a bit set, sorted; kept by `Eligibility`.
    """

    alpha: Float64
    beta: Float64
    may_lack: ClassVar[tuple[str, ...]] = ()
    """Columns that an older snapshot may lack; `load_state_dict` then makes them."""

    def __init__(self, pool: TaskPool, prior: Prior) -> None:
        size = len(pool)
        self.pool = pool
        self.prior = prior
        self.last_step = np.full(size, -1, np.int32)
        self.observations = np.zeros(size, np.int32)
        self.dispersion = np.full(size, np.nan, np.float32)
        self.blocked = np.zeros(size, np.uint8)
        self.blocked_rows: Rows = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.last_step)

    def note(self, observation: Observation) -> None:
        """Update the columns that only observed tasks change."""
        rows = observation.rows
        self.last_step[rows] = np.maximum(self.last_step[rows], observation.wave)
        self.observations[rows] += 1
        mean = observation.pass_rates
        greatest = mean * (1 - mean)
        told = greatest > 0
        ratio = np.minimum(observation.variance[told] / greatest[told], 1)
        old = self.dispersion[rows[told]]
        self.dispersion[rows[told]] = np.where(np.isnan(old), ratio, (old + ratio) / 2)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays (K,) to save, by name; `restore` writes them back."""
        return {name: getattr(self, name) for name in NOTES}

    def mean(self, rows: Rows) -> Float64:
        """Expected success probability of the given rows, float64."""
        raise NotImplementedError

    def deviation(self, rows: Rows) -> Float64:
        """Standard deviation of the belief about the success probability of the given rows, float64."""
        raise NotImplementedError

    def table(self) -> pa.Table:
        """id, alpha, beta, last_step, observations, dispersion as an Arrow table."""
        columns = {name: as_arrow(getattr(self, name)) for name in ("alpha", "beta", *NOTES)}
        return pa.table({"id": self.pool.table["id"], **columns})


class BeliefModel(Belief, ABC):
    """A belief other than the paper's Beta update.

    A user's own is a subclass, named "module:Class" and constructed as `cls(pool, prior, history, **options)`.

    BOTS merges a batch's rewards, leaves out what was counted before, and calls `observe` once for each new part of
    a wave, in any order of waves. `bots.belief.conformance` holds checks that the author of a model can run.
    λ, ρ, implicit evidence and the adaptor belong to the Beta update; a model has options of its own.

    pool: the tasks. prior: (α0, β0) by task, see `Prior`. history: how many waves, back from the latest, take evidence.
    Raises ValueError if the pool lacks what the model needs (say which column).
    """

    def __init__(self, pool: TaskPool, prior: Prior, history: int) -> None:
        super().__init__(pool, prior)
        self.history = history

    @abstractmethod
    def observe(self, observation: Observation) -> None:
        """Learn from groups of one wave whose (wave, task) pairs are new; rows are rising.

        Waves rise, or lie up to `history` - 1 behind the latest. Several calls of one wave add up to one batch.
        The belief afterwards must not depend on the order in which the parts arrived. Must not raise.
        """

    @abstractmethod
    def nearest(
        self, batch: int, p_star: float, domain: int, rng: np.random.Generator, *, draw: bool
    ) -> Rows:
        """int64 (batch,): distinct rows with `blocked == 0`, of the domain unless it is -1, best first.

        draw: choose by random draws from the belief (Thompson), else by the means. At least `batch` rows are free.
        """

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Float64:
        """θ (K,) drawn jointly from the belief, for selectors that score every task. O(K)."""

    @abstractmethod
    def grow(self, pool: TaskPool, prior: Prior) -> None:
        """The pool gained rows at the end; old rows keep what is believed of them."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that is not a column: JSON values and NumPy arrays, restored exactly by `load_state_dict`."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, for a model made with the same pool and options; columns come first."""

    def metrics(self) -> dict[str, float]:
        """A few finite numbers to log."""
        return {}


def as_arrow(column: npt.NDArray[np.generic]) -> pa.Array:
    """An Arrow array on the memory of the column."""
    kind = pa.from_numpy_dtype(column.dtype)
    return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(column)])
