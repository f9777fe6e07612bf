"""Embeddings as features: their leading principal components, the same for all tasks of a cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bots.pool import TaskPool
from bots.support.arrays import Float64

COMPONENTS = 16
CLUSTERS = 512
"""Most clusters; fewer where a cluster would have under `PER_CLUSTER` tasks, or where strata would be too many."""
PER_CLUSTER = 8
SAMPLE = 16_384
"""Tasks, spread evenly over the pool, from which components and clusters are computed."""
BLOCK = 16_384
ROUNDS = 12
"""Of k-means."""


def is_embedding(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are lists of floats."""
    lists = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(lists and pa.types.is_floating(kind.value_type))


class Embedding:
    """A projection and a codebook, computed once from the pool and kept while it grows.

    A vector's length doesn't count. Directions are centred and projected on the `components` directions of most
    variance; the components' scales are the fourth roots of their variances (between plain and whitened), with a mean
    square of 1 in all. k-means then gives each task a cluster, and its features are those of the cluster's centre:
    tasks of one cluster stay exchangeable, and cost no memory beyond the number of their stratum.

    centre: float64 (d,). projection: (d, E). centres: (V, E). missing: the code V.
    Raises ValueError for lists of different lengths, and where no task has a vector.
    """

    def __init__(self, pool: TaskPool, name: str, components: int, clusters: int = CLUSTERS) -> None:
        self.name = name
        self.length = _length(pool, name)
        sample = np.unique(np.linspace(0, len(pool) - 1, min(len(pool), SAMPLE)).astype(np.int64))
        known = _directions(_vectors(pool, name, self.length, sample))
        known = known[~np.isnan(known[:, 0])]
        if len(known) == 0:
            raise ValueError(
                f"feature {name!r} has no vector in any of {len(sample)} tasks: they are null, zero or not finite"
            )
        self.centre = known.mean(axis=0)
        self.projection = _principal(known - self.centre, components)
        projected = (known - self.centre) @ self.projection
        self.centres = _clusters(projected, max(1, min(clusters, len(known) // PER_CLUSTER)))

    @property
    def missing(self) -> int:
        """Code of a task without a vector."""
        return len(self.centres)

    def coarser(self, pool: TaskPool) -> Embedding:
        """The same with half the clusters."""
        return Embedding(pool, self.name, self.projection.shape[1], max(1, len(self.centres) // 2))

    def codes(self, pool: TaskPool, start: int) -> npt.NDArray[np.int64]:
        """Cluster of each row from `start` on. Null, zero and not finite vectors are missing."""
        if (length := _length(pool, self.name)) != self.length:
            raise ValueError(f"feature {self.name!r} has {length} numbers a task; it had {self.length}")
        codes = np.empty(len(pool) - start, np.int64)
        for low in range(start, len(pool), BLOCK):
            rows = np.arange(low, min(low + BLOCK, len(pool)))
            units = _directions(_vectors(pool, self.name, self.length, rows))
            found = _nearest((units - self.centre) @ self.projection, self.centres)
            codes[rows - start] = np.where(np.isnan(units[:, 0]), self.missing, found)
        return codes

    def values(self) -> Float64:
        """Features by code, 0 where missing: float64 (V + 1, E)."""
        return np.concatenate([self.centres, np.zeros((1, self.centres.shape[1]))])

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return vars(self).copy()

    @classmethod
    def of(cls, state: dict[str, Any]) -> Embedding:
        """From `state_dict`."""
        self = cls.__new__(cls)
        vars(self).update(state)
        return self


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
                "in rows before it; all vectors need the same length"
            )
    if length == 0:
        raise ValueError(f"feature {name!r} has vectors of no numbers")
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
    nearest: npt.NDArray[np.int64] = np.argmin((centres**2).sum(axis=1) - 2 * (points @ centres.T), axis=1)
    return nearest
