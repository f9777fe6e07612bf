"""What a selector is: from the beliefs and a request to distinct rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bots.belief.columns import Beliefs
from bots.pool import TaskPool
from bots.support.arrays import Rows


@dataclass(frozen=True)
class SelectionRequest:
    """What is asked of a selector.

    batch: B ≥ 1, how many distinct rows. p_star: target success probability.
    wave: number of the selection; in a synchronous loop, the training step.
    domain: index into `pool.domains` of the only domain to select from, or -1 for all.
    eligible: how many rows may be selected: those of the domain with `beliefs.blocked == 0`; ≥ batch.
    """

    batch: int
    wave: int
    p_star: float
    domain: int
    eligible: int


class Selector(ABC):
    """Picks a batch. A user's own is a subclass, named "module:Class", constructed as `cls(pool, **options)`.

    pool: the tasks. Raises ValueError if the pool lacks what the selector needs (say which column).
    """

    def __init__(self, pool: TaskPool) -> None:
        self.pool = pool

    @abstractmethod
    def select(self, beliefs: Beliefs, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """int64 (request.batch,): distinct rows that are not blocked and of the domain asked for."""

    def codes(self, domain: int) -> npt.NDArray[np.int16]:
        """The pool's domain codes, or an empty array where every domain is asked for."""
        return self.pool.domain_codes if domain >= 0 else np.empty(0, np.int16)

    def grow(self, pool: TaskPool) -> None:
        """The pool gained rows at the end."""
        self.pool = pool

    def state_dict(self) -> dict[str, Any]:
        """Everything that `select` changes: JSON values and NumPy arrays. The beliefs are not part of it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        if state:
            raise ValueError(f"{type(self).__name__} holds no state, but got {', '.join(state)}")

    def metrics(self) -> dict[str, float]:
        """A few numbers about the last selection."""
        return {}
