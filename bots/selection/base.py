"""The selector interface, from beliefs and a request to distinct rows, and the check of its results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bots.belief.base import Belief
from bots.pool.plug_in import PoolPlugIn
from bots.support.arrays import Rows
from bots.support.observation import Observation


@dataclass(frozen=True)
class SelectionRequest:
    """The request to a selector.

    - batch: B ≥ 1, the number of distinct rows to return.
    - wave: number of the selection; in a synchronous loop, the training step.
    - p_star: target success probability.
    - domain: index into `pool.domains` of the only domain to select from, or -1 for all.
    - eligible: number of rows that may be selected: those of the domain with `beliefs.blocked == 0`; ≥ batch.
    - rollouts: n, rollouts per task, or their mean where an allocation varies them.
    """

    batch: int
    wave: int
    p_star: float
    domain: int
    eligible: int
    rollouts: int = 8


class SelectorError(ValueError):
    """A selector returned unusable rows; names the plug-in and the fault."""


class Selector(PoolPlugIn, ABC):
    """Selects a batch of tasks.

    A custom selector is a subclass named "module:Class" in the configuration and constructed as
    `cls(pool, **options)`. `bots.selection.conformance` has the checks it must pass; `examples/selector.py` is one.
    """

    @abstractmethod
    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """int64 (request.batch,): distinct rows that are not blocked and belong to the requested domain.

        All randomness comes from `rng`. The beliefs are read-only.
        """

    def codes(self, domain: int) -> npt.NDArray[np.int16]:
        """The pool's domain codes, or an empty array if all domains are requested (-1)."""
        return self.pool.domain_codes if domain >= 0 else np.empty(0, np.int16)

    def observe(self, observation: Observation) -> None:
        """Learn from groups whose (wave, task) pairs are new, for selectors that keep a record of their own.

        Called after the beliefs changed. A wave may arrive in several parts, late or out of order; the caller has
        checked the values. Must not raise.
        """


def checked_rows(name: str, rows: object, beliefs: Belief, request: SelectionRequest) -> Rows:
    """Check the result of the selector called `name`; returns it as int64 (request.batch,).

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
