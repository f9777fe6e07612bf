"""The adaptor interface: tunes λ, ρ and p* from what each batch showed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bots.pool import TaskPool
from bots.support.arrays import Rows
from bots.support.observation import Observation
from bots.support.registry import make

Predict = Callable[[Rows], npt.NDArray[np.float32]]
"""Implicit pass rates p̃ (R,) of the given rows by the evidence plug-in's current state, NaN where none."""

PriorCounts = Callable[[Rows], tuple[npt.ArrayLike, npt.ArrayLike]]
"""PriorCounts pseudo-counts (α0, β0) of the given rows, each a scalar or (R,)."""


class Adaptor(ABC):
    """Chooses λ, ρ and p* while training runs.

    A user's adaptor is a subclass named "module:Class" in the configuration and constructed as
    `cls(pool, prior, lam, rho, p_star, **params)`. `bots.adapt.conformance` has the checks it must pass.

    The owner calls `observe` with each observation BEFORE the evidence plug-in and the posterior see it, so that
    every prediction an adaptor scores is one step ahead. Then it updates the posterior with `lam` and `rho`, and
    selects with `p_star`.
    """

    lam: float
    rho: float
    p_star: float

    @abstractmethod
    def observe(self, observation: Observation, predict: Predict) -> None:
        """Learn from one observation. `predict` answers from the evidence before it."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All mutable state, as numbers, strings and NumPy arrays: enough to continue bit for bit."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of an adaptor constructed with the same arguments."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Metrics to log."""

    @abstractmethod
    def grow(self, pool: TaskPool, prior: PriorCounts) -> None:
        """The pool has grown; earlier rows keep their numbers."""


def make_adaptor(
    name: str | None,
    pool: TaskPool,
    prior: PriorCounts,
    lam: float,
    rho: float,
    p_star: float,
    params: Mapping[str, Any] | None = None,
) -> Adaptor | None:
    """The adaptor of that name, listed in `bots.support.registry` or "module:Class"; None: none.

    lam, rho, p_star: the configured values; the adaptor starts from them.
    Raises ValueError for an unknown name or parameters that the class does not take.
    """
    if name is None:
        return None
    arguments = (pool, prior, lam, rho, p_star)
    return make("adaptor", name, Adaptor, arguments, params or {})  # type: ignore[type-abstract]
