"""Embeddings as features: their leading principal components, of each task or of a task near it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bots.pool import TaskPool
from bots.support.arrays import Float64, Rows

COMPONENTS = 32
POINTS = 32_768
"""Most tasks, spread evenly over the pool, whose own components are features; fewer where strata would be too many."""
CELLS = 256
"""Most cells that points are divided into, so that the nearest one is found in little time."""
PER_CELL = 32
PROBES = 4
"""Cells in which the nearest point is looked for."""
SAMPLE = 16_384
"""Tasks, spread evenly over the pool, from which components and cells are computed."""
BLOCK = 16_384
ROUNDS = 12
"""Of k-means."""


class NoVectorsError(ValueError):
    """A column of embeddings that says nothing of any task."""


class Embedding:
    """A projection and a set of points, computed once from the pool and kept while it grows.

    A vector's length doesn't count. Directions are centred and projected on the `components` directions of most
    variance; the components' scales are the fourth roots of their variances (between plain and whitened), with a mean
    square of 1 in all. Up to `points` tasks have these components as features. Any other task has those of the
    nearest point in the cells nearest to it (k-means), for large pools and for tasks that are new.

    Tasks of one point are exchangeable. A task costs no memory beyond the number of its stratum; a point about 1 KiB,
    here and in the strata.

    centre: float64 (d,). projection: (d, E). cells: (V, E), their centres. points: (P, E), those of a cell together.
    starts: int64 (V + 1,), where each cell's points begin. missing: the code P.
    Raises ValueError for lists of different lengths, and where no task has a vector.
    """

    def __init__(self, pool: TaskPool, name: str, components: int, points: int = POINTS) -> None:
        self.name = name
        self.length = _length(pool, name)
        given = pool.table[name].is_valid().to_numpy().nonzero()[0]
        sample = given[_spread(len(given), SAMPLE)]
        known = self._known(pool, sample)
        if len(known) == 0 and len(sample) < len(given):
            known = np.concatenate([self._known(pool, block) for block in _blocks(given)])[:SAMPLE]
        if len(known) == 0:
            raise NoVectorsError(
                f"feature {name!r} has no vector in any of {len(pool)} tasks: they are null, zero or not finite"
            )
        self.centre = known.mean(axis=0)
        self.projection = _principal(known - self.centre, components)
        sampled = (known - self.centre) @ self.projection
        chosen = np.concatenate([z for _, z in self._projected(pool, given[_spread(len(given), points)])])
        chosen = np.unique(chosen[~np.isnan(chosen[:, 0])], axis=0)
        if len(chosen) == 0:  # the few points have no vector, others have
            chosen = np.unique(sampled, axis=0)[:points]
        cells = _clusters(sampled, max(1, min(CELLS, len(chosen) // PER_CELL)))
        used, cell = np.unique(_nearest(chosen, cells), return_inverse=True)
        self.cells = cells[used]
        self.points = chosen[np.argsort(cell, kind="stable")]
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(cell))])

    def _known(self, pool: TaskPool, rows: Rows) -> Float64:
        """Directions of those of the rows that have one, float64 (R, length)."""
        directions = _directions(_vectors(pool, self.name, self.length, rows))
        known: Float64 = directions[~np.isnan(directions[:, 0])]
        return known

    @property
    def missing(self) -> int:
        """Code of a task without a vector."""
        return len(self.points)

    def coarser(self, pool: TaskPool) -> Embedding:
        """The same with half the points."""
        return Embedding(pool, self.name, self.projection.shape[1], max(1, len(self.points) // 2))

    def codes(self, pool: TaskPool, start: int) -> npt.NDArray[np.int64]:
        """Point of each row from `start` on. Null, zero and not finite vectors are missing."""
        if (length := _length(pool, self.name)) != self.length:
            raise ValueError(f"feature {self.name!r} has {length} numbers a task; it had {self.length}")
        codes = np.full(len(pool) - start, self.missing)
        for rows, projected in self._projected(pool, np.arange(start, len(pool))):
            known = np.flatnonzero(~np.isnan(projected[:, 0]))
            codes[rows[known] - start] = self._nearest_points(projected[known])
        return codes

    def _nearest_points(self, projected: Float64) -> npt.NDArray[np.int64]:
        """Nearest of the points of the `PROBES` nearest cells, int64 (R,)."""
        points, least = np.zeros(len(projected), np.int64), np.full(len(projected), np.inf)
        probes = min(PROBES, len(self.cells))
        near = np.argpartition(_distances(projected, self.cells), probes - 1, axis=1)[:, :probes]
        for c in np.unique(near).tolist():
            members = np.flatnonzero((near == c).any(axis=1))
            distances = _distances(projected[members], self.points[self.starts[c] : self.starts[c + 1]])
            found = distances.argmin(axis=1)
            shortest = distances[np.arange(len(members)), found]
            better = shortest < least[members]
            least[members[better]] = shortest[better]
            points[members[better]] = self.starts[c] + found[better]
        return points

    def _projected(self, pool: TaskPool, rows: Rows) -> Iterator[tuple[Rows, Float64]]:
        """Blocks of the rows, and the components of each, float64 (R, E); NaN without a vector."""
        for block in _blocks(rows):
            units = _directions(_vectors(pool, self.name, self.length, block))
            yield block, (units - self.centre) @ self.projection

    def values(self) -> Float64:
        """Features by code, 0 where missing: float64 (P + 1, E)."""
        return np.concatenate([self.points, np.zeros((1, self.points.shape[1]))])

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return vars(self).copy()

    @classmethod
    def of(cls, state: dict[str, Any]) -> Embedding:
        """From `state_dict`."""
        self = cls.__new__(cls)
        if "centres" in state:  # of an older snapshot, whose clusters are cells of one point
            centres = state["centres"]
            own = {"cells": centres, "points": centres, "starts": np.arange(len(centres) + 1)}
            state = {key: value for key, value in state.items() if key != "centres"} | own
        vars(self).update(state)
        return self


def _blocks(rows: Rows) -> Iterator[Rows]:
    """The rows, `BLOCK` at a time."""
    for low in range(0, len(rows), BLOCK):
        yield rows[low : low + BLOCK]


def _spread(size: int, number: int) -> Rows:
    """At most so many rows, evenly over `size`."""
    return np.unique(np.linspace(0, size - 1, min(size, number)).astype(np.int64))


def _length(pool: TaskPool, name: str) -> int:
    """Numbers of each vector."""
    column = pool.table[name]
    if pa.types.is_fixed_size_list(column.type):
        length = int(column.type.list_size)
    else:
        lengths = pc.list_value_length(column).drop_null().to_numpy()
        length = int(lengths[0]) if len(lengths) else 0
        if (lengths != length).any():
            all_lengths = pc.list_value_length(column).fill_null(length).to_numpy()
            row = int(np.argmax(all_lengths != length))
            raise ValueError(
                f"feature {name!r} has {all_lengths[row]} numbers in row {row} (id {pool.ids([row])[0]}), and {length} "
                "in rows before it; all vectors need the same length, or belief_options={'features': []} leaves out "
                "the column"
            )
    if length == 0:
        raise NoVectorsError(f"feature {name!r} has vectors of no numbers")
    return length


def _vectors(pool: TaskPool, name: str, length: int, rows: npt.NDArray[np.int64]) -> Float64:
    """float64 (R, length); NaN where null."""
    taken = pool.table[name].take(pa.array(rows)).combine_chunks()
    if isinstance(taken, pa.ChunkedArray):
        taken = pa.concat_arrays(taken.chunks)
    present = ~taken.is_null().to_numpy(zero_copy_only=False)
    vectors = np.full((len(rows), length), np.nan)
    flat = (
        taken.drop_null().flatten().cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False)
    )
    vectors[present] = flat.reshape(-1, length)
    return vectors


def _directions(vectors: Float64) -> Float64:
    """Vectors of length 1; NaN where there is no direction. The largest number is 1 first: squares may overflow."""
    vectors[~np.isfinite(vectors).all(axis=1)] = np.nan
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    vectors /= np.where(largest > 0, largest, np.nan)
    units: Float64 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units


def _principal(centred: Float64, components: int) -> Float64:
    """Scaled principal directions, (d, E), by a randomized range finder (Halko, Martinsson, Tropp 2011)."""
    rng = np.random.default_rng(0)
    width = min(components + 8, *centred.shape)
    basis = rng.standard_normal((centred.shape[1], width))
    for _ in range(5):
        basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
    _, size, directions = np.linalg.svd(centred @ basis, full_matrices=False)
    least = 1e-6 * np.sqrt(len(centred))  # a variance that float32 could have by rounding
    kept = min(components, int((size > least).sum()))
    if kept == 0:
        return np.zeros((centred.shape[1], 1))
    variance = size[:kept] ** 2 / len(centred)
    axes = basis @ directions[:kept].T
    # The largest part of each direction is positive, so that its sign doesn't hang on rounding.
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(kept)])
    scaled: Float64 = axes / variance**0.25 / np.sqrt(np.sqrt(variance).sum())
    return scaled


def _clusters(points: Float64, number: int) -> Float64:
    """Centres of k-means from a random start, distinct."""
    rng = np.random.default_rng(0)
    centres = points[np.sort(rng.choice(len(points), number, replace=False))]
    for _ in range(ROUNDS):
        nearest = _nearest(points, centres)
        count = np.bincount(nearest, minlength=len(centres))
        total = np.stack([np.bincount(nearest, column, len(centres)) for column in points.T], axis=1)
        centres = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], centres)
    distinct: Float64 = np.unique(centres, axis=0)
    return distinct


def _nearest(points: Float64, centres: Float64) -> npt.NDArray[np.int64]:
    """Place of the nearest centre, int64 (N,)."""
    nearest: npt.NDArray[np.int64] = _distances(points, centres).argmin(axis=1)
    return nearest


def _distances(points: Float64, centres: Float64) -> Float64:
    """Squared distances without what all of a point's have in common, float64 (N, V)."""
    distances: Float64 = (centres**2).sum(axis=1) - 2 * (points @ centres.T)
    return distances
