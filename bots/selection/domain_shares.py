"""Shares of every batch by domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bots.pool import TaskPool
from bots.support.arrays import Rows

Shares = Mapping[str, float] | str | None


class DomainShares:
    """Splits batches among domains so that over time each gets exactly its share.

    shares: weight ≥ 0 of each domain (those left out get 0); "weights": the sum of the column `weight` over the
    domain's tasks, so that a source of weight 2 is selected twice as often as its size suggests; None: the batch is
    not split.
    What rounding takes from a domain in one batch is owed to it in the next. If a domain has too few tasks to fill
    its part, the others fill it.
    """

    def __init__(self, pool: TaskPool, shares: Shares) -> None:
        self.pool = pool
        self._weights: np.ndarray[Any, np.dtype[np.float64]] | None = None
        if shares is None:
            return
        if isinstance(shares, str):
            shares = _summed_weights(pool, shares)
        if not isinstance(shares, Mapping):
            raise ValueError(  # noqa: TRY004
                f'domain_shares is {shares!r}; it must be a weight for each domain, or "weights"'
            )
        unknown = set(shares) - set(pool.domains)
        if unknown:
            raise ValueError(
                f"domain_shares names {sorted(unknown)}; the pool has the domains {sorted(pool.domains)}"
            )
        weights = np.array([float(shares.get(name, 0)) for name in pool.domains])
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise ValueError(f"domain_shares is {dict(shares)}; weights must be finite, ≥ 0 and not all 0")
        self._weights = weights / weights.sum()
        self._owed = np.zeros(len(weights))
        self._sizes = np.bincount(pool.domain_codes, minlength=len(weights))

    @property
    def parts(self) -> list[tuple[int, int]]:
        """(domain code, tasks) of each part of the pool that has a share; code -1: the whole pool."""
        if self._weights is None:
            return [(-1, len(self.pool))]
        return [(code, int(self._sizes[code])) for code in np.flatnonzero(self._weights).tolist()]

    def requests(self, batch: int, blocked: Rows) -> Iterator[tuple[int, int, int]]:
        """(domain code, rows to select, rows that may be selected) for each part of the batch."""
        if self._weights is None:
            yield -1, batch, len(self.pool) - len(blocked)
            return
        codes = self.pool.domain_codes[blocked]
        free = self._sizes - np.bincount(codes, minlength=len(self._sizes))
        due = self._owed + batch * self._weights
        sizes = np.zeros(len(due), np.int64)
        for _ in range(batch):
            # The domain that is owed most comes first. One with no task left is skipped; one without a share is
            # used only when no other is left.
            order = np.where(sizes < free, due - sizes + (self._weights > 0) * (batch + 1), -np.inf)
            sizes[np.argmax(order)] += 1
        self._owed = np.clip(due - sizes, -1, 1)
        for domain in np.flatnonzero(sizes).tolist():
            yield domain, int(sizes[domain]), int(free[domain])

    def state_dict(self) -> dict[str, Any]:
        """What each domain is owed."""
        return {} if self._weights is None else {"owed": self._owed.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it; new domains are owed nothing."""
        if self._weights is not None:
            self._owed[: len(state["owed"])] = state["owed"]


def _summed_weights(pool: TaskPool, shares: str) -> dict[str, float]:
    """Weight of each domain by the pool's column `weight`."""
    if shares != "weights":
        raise ValueError(f'domain_shares is {shares!r}; it must be "weights", weights by domain, or None')
    if "weight" not in pool.table.column_names:
        raise ValueError(
            'domain_shares is "weights", but the pool has no column `weight`; '
            f"it has {', '.join(pool.table.column_names)}"
        )
    weights = pool.table["weight"].to_numpy()
    sums = np.bincount(pool.domain_codes, weights=weights, minlength=len(pool.domains))
    return dict(zip(pool.domains, sums.tolist(), strict=True))
