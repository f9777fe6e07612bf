"""The selector interface: from beliefs and a request to distinct rows, and the check of what came back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.support.arrays import Rows


@dataclass(frozen=True)
class SelectionRequest:
    """The request to a selector.

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


class SelectorError(ValueError):
    """A selector returned rows that cannot be used; names the plug-in and the fault."""


class Selector(ABC):
    """Picks a batch of tasks.

    A user's selector is a subclass named "module:Class" in the configuration and constructed as
    `cls(pool, **options)`. `bots.selection.conformance` has the checks it must pass; `examples/selector.py` is one.

    pool: the tasks. The constructor raises ValueError if the pool lacks what the selector needs (name the column).
    """

    def __init__(self, pool: TaskPool) -> None:
        self.pool = pool

    @abstractmethod
    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """int64 (request.batch,): distinct rows that are not blocked and belong to the requested domain.

        All randomness comes from `rng`. The beliefs are read only.
        """

    def codes(self, domain: int) -> npt.NDArray[np.int16]:
        """The pool's domain codes, or an empty array where every domain is requested."""
        return self.pool.domain_codes if domain >= 0 else np.empty(0, np.int16)

    def grow(self, pool: TaskPool) -> None:
        """The pool gained rows at the end."""
        self.pool = pool

    def state_dict(self) -> dict[str, Any]:
        """Everything `select` changes, as JSON values and NumPy arrays; the beliefs are saved elsewhere."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if state:
            raise ValueError(f"{type(self).__name__} holds no state, but got {', '.join(state)}")

    def metrics(self) -> dict[str, float]:
        """A few numbers about the last selection."""
        return {}


def checked_rows(name: str, rows: object, beliefs: Belief, request: SelectionRequest) -> Rows:
    """What the selector called `name` returned, as int64 (request.batch,).

    Raises SelectorError unless it is an array of `request.batch` distinct integers, each a row of the pool that is
    not blocked and belongs to the requested domain.
    """

    def fault(what: str) -> SelectorError:
        return SelectorError(f"selector {name!r} returned {what}")

    array = np.asarray(rows)
    if array.dtype.kind not in "iu":
        raise fault(f"dtype {array.dtype}; row numbers are integers")
    if array.shape != (request.batch,):
        raise fault(
            f"shape {array.shape}; {request.batch} rows were requested, so it must be ({request.batch},)"
        )
    outside = (array < 0) | (array >= len(beliefs))
    if outside.any():
        raise fault(f"row {array[outside][0]}; the pool has rows 0 to {len(beliefs) - 1}")
    array = array.astype(np.int64, copy=False)
    distinct, counts = np.unique(array, return_counts=True)
    if len(distinct) < len(array):
        raise fault(f"row {distinct[counts > 1][0]} {counts.max()} times; rows must be distinct")
    blocked = beliefs.blocked[array] != 0
    if blocked.any():
        raise fault(f"row {array[blocked][0]}, which is blocked: it is excluded, cooling down or retired")
    if request.domain >= 0:
        foreign = beliefs.pool.domain_codes[array] != request.domain
        if foreign.any():
            domain = beliefs.pool.domains[request.domain]
            raise fault(f"row {array[foreign][0]}, which is not of the requested domain {domain!r}")
    return array
