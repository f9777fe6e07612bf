"""Prior pseudo-counts (α0, β0): for the whole pool, by domain, by task, or from the reference pass rates."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from bots.pool import TaskPool
from bots.support.arrays import Float32, Float64, Rows


@dataclass(frozen=True)
class AnchorPrior:
    """A prior centered on the reference pass rates: α0 = 1 + c·p, β0 = 1 + c·(1-p).

    p is w + capability·(s - w) of the weak and the strong anchor; a task with a missing anchor gets (1, 1).
    strength: c ≥ 0, the prior's weight in rollouts. capability: in [0, 1]. Raises ValueError for other values.
    """

    strength: float = 2.0
    capability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.strength < np.inf:
            raise ValueError(
                f"strength of the anchor prior is {self.strength}; it must be a finite number ≥ 0"
            )
        if not 0 <= self.capability <= 1:
            raise ValueError(f"capability of the anchor prior is {self.capability}; it must be in [0, 1]")


PriorSpec = (
    tuple[float, float]
    | tuple[npt.ArrayLike, npt.ArrayLike]
    | Mapping[str, tuple[float, float]]
    | Mapping[str, float]  # the fields of an AnchorPrior
    | AnchorPrior
)


class Prior:
    """α0 and β0 of every task, stored as compactly as the kind allows.

    kind 0: one pair. kind 1: a pair for each domain, looked up by `codes`. kind 2: float32 (K,) columns.
    table_alpha, table_beta: float64 (1,) or (domains,). task_alpha, task_beta: float32 (K,) or empty.
    codes: int16 (K,) or empty.
    """

    def __init__(self, pool: TaskPool, spec: PriorSpec | str) -> None:
        if isinstance(spec, str) and spec == "anchors":
            spec = AnchorPrior()
        elif isinstance(spec, Mapping) and spec and all(isinstance(one, Real) for one in spec.values()):
            spec = _anchor_prior(spec)
        self.spec: PriorSpec | str = spec
        self.kind = 0
        self.codes = np.empty(0, np.int16)
        self.table_alpha, self.table_beta = np.ones(1), np.ones(1)
        self.task_alpha, self.task_beta = np.empty(0, np.float32), np.empty(0, np.float32)
        if isinstance(spec, AnchorPrior):
            self.kind = 2
            self.task_alpha, self.task_beta = _from_anchors(pool, spec)
        elif isinstance(spec, Mapping):
            self.kind = 1
            self.codes = pool.domain_codes
            self.table_alpha, self.table_beta = _by_domain(pool, spec)
        elif isinstance(spec, str) or not isinstance(spec, Sized) or len(spec) != 2:
            raise ValueError(
                f'prior is {spec!r}; it must be "auto", (alpha0, beta0), two arrays of the pool\'s length, '
                'a dict from domain to (alpha0, beta0), "anchors", AnchorPrior(...) or its fields as a dict'
            )
        elif np.ndim(spec[0]) == 0 and np.ndim(spec[1]) == 0:
            self.table_alpha = np.array([_positive("prior alpha0", spec[0])])
            self.table_beta = np.array([_positive("prior beta0", spec[1])])
        else:
            self.kind = 2
            self.task_alpha = _column(pool, "prior alpha0", spec[0])
            self.task_beta = _column(pool, "prior beta0", spec[1])
            self.spec = (self.task_alpha, self.task_beta)

    def at(self, rows: Rows) -> tuple[Float64, Float64]:
        """(α0, β0) of the given rows, float64 (len(rows),) each."""
        if self.kind == 2:
            return self.task_alpha[rows].astype(np.float64), self.task_beta[rows].astype(np.float64)
        index = self.codes[rows].astype(np.int64) if self.kind == 1 else np.zeros(len(rows), np.int64)
        return self.table_alpha[index], self.table_beta[index]

    def fill(self, alpha: Float64, beta: Float64, start: int) -> None:
        """Write α0 and β0 of rows start … start+len(alpha)-1."""
        stop = start + len(alpha)
        if self.kind == 2:
            alpha[:], beta[:] = self.task_alpha[start:stop], self.task_beta[start:stop]
        elif self.kind == 1:
            alpha[:], beta[:] = (
                self.table_alpha[self.codes[start:stop]],
                self.table_beta[self.codes[start:stop]],
            )
        else:
            alpha[:], beta[:] = self.table_alpha[0], self.table_beta[0]

    def grown(self, pool: TaskPool, tail: tuple[npt.ArrayLike, npt.ArrayLike] | None) -> Prior:
        """The prior of a pool that gained rows; tail: (α0, β0) of the new rows where the prior is by task."""
        if self.kind != 2 or isinstance(self.spec, AnchorPrior):
            if tail is not None:
                raise ValueError("a prior for the new rows is accepted only if the prior was given by task")
            if isinstance(self.spec, AnchorPrior) and not pool.has_anchors:
                raise ValueError(
                    "the prior comes from reference pass rates, of which the larger pool has no columns; name its weak "
                    "and strong columns (null for new tasks that nobody measured)"
                )
            return Prior(pool, self.spec)
        if tail is None:
            raise ValueError("the prior was given by task: give (alpha0, beta0) arrays for the new rows too")
        alpha = np.concatenate([self.task_alpha, np.asarray(tail[0], np.float32)])
        beta = np.concatenate([self.task_beta, np.asarray(tail[1], np.float32)])
        return Prior(pool, (alpha, beta))

    def describe(self) -> Any:
        """The prior for the resolved settings: JSON values, with arrays left out."""
        if isinstance(self.spec, AnchorPrior):
            return {"strength": self.spec.strength, "capability": self.spec.capability}
        if isinstance(self.spec, Mapping):
            by_domain: Mapping[str, Any] = self.spec
            return {name: [float(a), float(b)] for name, (a, b) in by_domain.items()}
        if self.kind == 2:
            return "by task"
        return [float(self.table_alpha[0]), float(self.table_beta[0])]


def _anchor_prior(given: Mapping[str, Any]) -> AnchorPrior:
    known = [field.name for field in fields(AnchorPrior)]
    if unknown := [name for name in given if name not in known]:
        raise ValueError(
            f"prior has {unknown[0]}={given[unknown[0]]!r}; the anchor prior has {' and '.join(known)}, and a prior by "
            "domain has (alpha0, beta0) for each"
        )
    return AnchorPrior(**given)


def _positive(name: str, value: Any) -> float:
    number = float(value)
    if not 0 < number < np.inf:
        raise ValueError(f"{name} is {number}; it must be a positive finite number")
    return number


def _column(pool: TaskPool, name: str, values: npt.ArrayLike) -> Float32:
    column = np.array(values, np.float32)
    if column.shape != (len(pool),):
        raise ValueError(f"{name} has shape {column.shape}; the pool needs ({len(pool)},)")
    bad = ~((column > 0) & (column < np.inf))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{name} is {column[row]} in row {row} (id {pool.ids([row])[0]}); it must be positive"
        )
    return column


def _by_domain(pool: TaskPool, spec: Mapping[str, Any]) -> tuple[Float64, Float64]:
    if set(spec) != set(pool.domains):
        raise ValueError(f"prior names the domains {sorted(spec)}; the pool has {sorted(pool.domains)}")
    alpha = [_positive(f"prior alpha0 of domain {name!r}", spec[name][0]) for name in pool.domains]
    beta = [_positive(f"prior beta0 of domain {name!r}", spec[name][1]) for name in pool.domains]
    return np.array(alpha), np.array(beta)


def _from_anchors(pool: TaskPool, spec: AnchorPrior) -> tuple[Float32, Float32]:
    if not pool.has_anchors:
        raise ValueError("an anchor prior needs a pool with anchors; name its weak and strong columns")
    p = pool.weak + np.float32(spec.capability) * (pool.strong - pool.weak)
    strength = np.float32(spec.strength)
    return 1 + np.nan_to_num(strength * p), 1 + np.nan_to_num(strength * (1 - p))
