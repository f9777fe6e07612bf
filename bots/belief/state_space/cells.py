"""How the logits of cells hang together: a full covariance for some hundred, a low-rank one for thousands."""

from __future__ import annotations

from typing import Any

import numpy as np

from bots.belief.state_space.codebook import Codebook
from bots.support.arrays import Float64, Rows

DENSE = 192
"""Cells up to which each has a logit of its own in the state."""
RANK = 96
"""States of the low-rank form."""
POOL, DOMAIN, NEAR, OWN = 0.3, 0.1, 0.4, 0.2
"""Shares of a cell's prior variance that the whole pool, the domain, neighbouring levels and the cell alone have."""


class Cells:
    """logit(c) = base(c) + Ψ(c)·x + e(c): x the filter's first states, e a deviation of each cell's own.

    Up to `DENSE` cells Ψ is the identity and e is 0. Of more, Ψ is a pivoted Cholesky factor of what the pool, the
    domains and the levels share, and e has the rest; its covariances with x are not kept. Cells that a growing
    pool adds are predicted from the states by their prior covariance, and e has what is left.

    size: states. loadings: Ψ, float64 (C, size). deviation, variance: of e, float64 (C,).
    """

    def __init__(self, book: Codebook, spread: float, reach: float | None) -> None:
        self.book, self.spread = book, spread
        self.reach = self._reaches(reach)
        count = len(book.cells)
        self.dense = count <= DENSE
        if self.dense:
            self.pivots = np.arange(count)
            self.loadings = np.eye(count)
        else:
            self.pivots, self.loadings = self._pivoted(count)
        self.size = self.loadings.shape[1]
        self._solve()
        self._near = np.empty((0, 0))
        self.deviation = np.zeros(count)
        self.variance = np.zeros(count) if self.dense else self._left_over(np.arange(count))

    def _reaches(self, reach: float | None) -> Float64:
        position = self.book.position
        places = np.array([len(np.unique(column[~np.isnan(column)])) for column in position.T])
        return np.full(len(places), reach) if reach is not None else np.maximum(2.0, places / 4)

    def covariance(self, left: Rows, right: Rows) -> Float64:
        """Prior covariance of cells' logits, float64 (L, R)."""
        same = (left[:, None] == right[None]).astype(np.float64)
        covariance: Float64 = self.spread * (OWN * same + self.shared(left, right))
        return covariance

    def shared(self, left: Rows, right: Rows) -> Float64:
        """The part of the correlation that is not a cell's own."""
        return POOL + DOMAIN * self.same_domain(left, right) + NEAR * self.nearness(left, right)

    def same_domain(self, left: Rows, right: Rows) -> Float64:
        """1 where two cells have one domain, float64 (L, R)."""
        domains = self.book.cells[:, 0]
        same: Float64 = (domains[left][:, None] == domains[right][None]).astype(np.float64)
        return same

    def nearness(self, left: Rows, right: Rows) -> Float64:
        """exp(-Σ |Δ|/reach) over ordered columns where all others are equal, else 0."""
        near = np.ones((len(left), len(right)))
        for place, reach in enumerate(self.reach):
            codes, position = self.book.cells[:, place], self.book.position[:, place]
            equal = codes[left][:, None] == codes[right][None]
            distance = np.abs(position[left][:, None] - position[right][None])
            near *= np.where(
                equal, 1.0, np.where(np.isnan(distance), 0.0, np.exp(-np.nan_to_num(distance) / reach))
            )
        return near

    def near(self, cells: Rows) -> Float64:
        """`nearness` of every cell to these, float64 (C, R); kept for a few hundred cells."""
        count = len(self.book.cells)
        if count > DENSE:
            return self.nearness(np.arange(count), cells)
        if len(self._near) != count:
            self._near = self.nearness(np.arange(count), np.arange(count))
        return self._near[:, cells]

    def _pivoted(self, count: int) -> tuple[Rows, Float64]:
        """Pivots and Ψ of the greedy pivoted Cholesky factorization (Harbrecht, Peters, Schneider 2012)."""
        everything = np.arange(count)
        left = np.full(count, self.spread * (POOL + DOMAIN + NEAR))
        factor = np.zeros((count, RANK))
        pivots: list[int] = []
        for column in range(RANK):
            pivot = int(np.argmax(left))
            if left[pivot] < 1e-6 * self.spread:
                factor = factor[:, :column]
                break
            row = self.spread * self.shared(everything, np.array([pivot]))[:, 0]
            factor[:, column] = (row - factor[:, :column] @ factor[pivot, :column]) / np.sqrt(left[pivot])
            left = np.maximum(left - factor[:, column] ** 2, 0)
            left[pivot] = 0
            pivots.append(pivot)
        return np.array(pivots), factor

    def _solve(self) -> None:
        """What predicts a new cell from the states, and what projects movements of cells onto them."""
        first = self.loadings[: len(self.pivots)] if self.dense else self.loadings[self.pivots]
        if self.dense:
            self._predictor = np.linalg.inv(self.covariance(self.pivots, self.pivots))
            self._projector = np.zeros((0, 0))
        else:
            self._predictor = np.linalg.inv(first).T
            gram = self.loadings.T @ self.loadings
            ridge = 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram))
            self._projector = np.linalg.solve(gram + ridge, self.loadings.T)

    def prior_root(self) -> Float64:
        """Square root of the states' prior covariance, float64 (size, size)."""
        if not self.dense:
            return np.eye(self.size)
        return np.asarray(np.linalg.cholesky(self.covariance(self.pivots, self.pivots)), np.float64)

    def _left_over(self, cells: Rows) -> Float64:
        """Prior variance of cells that the states do not explain."""
        states = self.covariance(self.pivots, self.pivots) if self.dense else np.eye(self.size)
        loadings = self.loadings[cells]
        explained = np.einsum("ij,jk,ik->i", loadings, states, loadings)
        floor = 1e-6 * self.spread
        left: Float64 = np.maximum(self.spread - explained, floor)
        return left

    def onto_states(self, movement: Float64) -> Float64:
        """States' movement for that of all cells: (C, k) → (size, k)."""
        return movement[: self.size] if self.dense else self._projector @ movement

    def grow(self) -> None:
        """The codebook has more cells: predict them from the states; see the class."""
        old, count = len(self.loadings), len(self.book.cells)
        if count == old:
            return
        new = np.arange(old, count)
        across = self.spread * self.shared(new, self.pivots)
        self.loadings = np.concatenate([self.loadings, across @ self._predictor])
        self.deviation = np.append(self.deviation, np.zeros(len(new)))
        self.variance = np.append(self.variance, self._left_over(new))

    def state_dict(self) -> dict[str, Any]:
        """What depends on how the pool grew."""
        return {
            "dense": self.dense,
            "pivots": self.pivots,
            "loadings": np.empty((0, 0)) if self._plain() else self.loadings,
            "first": len(self.pivots) if self.dense else self._projector.shape[1],
            "reach": self.reach,
            "spread": self.spread,
        }

    def _plain(self) -> bool:
        return self.dense and len(self.loadings) == self.size

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.dense, self.pivots, self.reach = state["dense"], state["pivots"], state["reach"]
        # Of the prior at first, which a growing pool may change; an older snapshot lacks it.
        self.spread = state.get("spread", self.spread)
        loadings = state["loadings"] if state["loadings"].size else np.eye(len(self.pivots))
        first = int(state["first"])
        self.loadings = loadings[:first]
        self.size = loadings.shape[1]
        self._solve()
        self.loadings = loadings
