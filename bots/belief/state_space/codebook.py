"""From a pool's columns to strata: tasks of one stratum are exchangeable until one of them is observed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bots.belief.prior import Prior
from bots.belief.state_space.embeddings import COMPONENTS, Embedding
from bots.belief.state_space.logits import prior_logit
from bots.pool import TaskPool, is_embedding, is_text, plain_type
from bots.support.arrays import Float64

Codes = npt.NDArray[np.int64]

ORDINAL_BINS = 64
"""Most distinct values of an ordered column; more are put into bins of equally many tasks."""
FEATURE_BINS = 24
"""Bins of a numeric feature; fewer, at least two, if there would be more than `MAX_STRATA` strata."""
MAX_STRATA = 65_536
MOST_STRATA = 4 * MAX_STRATA
"""Strata that are accepted where all features have two bins."""
LARGEST_NUMBER = 1e100
"""Larger numbers of a feature count as this one: their squares can be added up."""
MAX_CELLS = 65_536
MARGIN = 0.03
"""A pass rate p of a reference model has the feature log((p + MARGIN) / (1 - p + MARGIN))."""


class Codebook:
    """Numbers of cells and strata, which stay what they are while the pool grows.

    A cell is a combination of the values of `columns`; a stratum is a cell with one bin of each feature.

    columns: domain first; text, booleans or integers. Integers are ordered, others are not; null is a value of its own.
    features: names of numeric columns and of embeddings, see `Embedding`. Reference pass rates are features too, and so
        is a prior by task.

    cells: int64 (C, columns), codes of each column; column 0 is the domain. position: float64 (C, columns), the place
    of an ordered value, NaN where values have no order. cell, domain: int64 (S,), of each stratum. values: float64
    (S, F), each feature's mean in the stratum's bin, centred and scaled, 0 where unknown. embedded: float64 (S, E), the
    components of embeddings likewise. unknown: bool (S, F + embeddings).
    """

    def __init__(
        self,
        pool: TaskPool,
        prior: Prior,
        columns: Sequence[str],
        features: Sequence[str] = (),
        anchors: bool = True,
        components: int = COMPONENTS,
    ) -> None:
        self.columns, self.anchors = tuple(columns), anchors
        vectors = [name for name in features if is_embedding(_present(pool, name).type)]
        self.features = tuple(name for name in features if name not in vectors)
        self._embeddings = [Embedding(pool, name, components) for name in vectors]
        self._categories: list[list[str | None]] = [[] for _ in self.columns]
        self._is_ordered = [False] * len(self.columns)
        self._edges: list[list[float] | None] = [None] * len(self.columns)
        self._cells: dict[tuple[int, ...], int] = {}
        self._strata: dict[tuple[int, ...], int] = {}
        self._bins: list[dict[str, Any]] = []
        numbers = self._numbers(pool, prior)
        self.feature_names = tuple(numbers)
        most = FEATURE_BINS
        while True:
            self._bins = [_bins(values, most) for values in numbers.values()]
            self._cells, self._strata = {}, {}
            codes = [embedding.codes(pool, 0) for embedding in self._embeddings]
            self.stratum = self._encode(
                pool, list(numbers.values()), codes, MAX_STRATA if most > 2 else MOST_STRATA
            )
            if len(self.stratum) == len(pool):
                break
            if most == 2 and all(embedding.missing == 1 for embedding in self._embeddings):
                raise ValueError(
                    f"features {', '.join(map(repr, self.feature_names))} and columns {list(self.columns)} make more "
                    f"than {MOST_STRATA} strata even with two bins each; name fewer in belief_options, or put the "
                    "numbers into one column of lists, which is taken as an embedding"
                )
            most = max(2, most // 2)
            self._embeddings = [embedding.coarser(pool) for embedding in self._embeddings]
        self._refresh()

    def scale(self, name: str) -> tuple[float, float]:
        """Mean and standard deviation by which a feature was centred and scaled."""
        bins = self._bins[self.feature_names.index(name)]
        return float(bins["centre"]), float(bins["scale"])

    def _numbers(self, pool: TaskPool, prior: Prior) -> dict[str, Float64]:
        """Every feature of this pool as float64 (K,) on its own scale, NaN where unknown."""
        numbers = {name: _numeric(pool, name) for name in self.features}
        if self.anchors and pool.has_anchors:
            for name, rate in (("weak", pool.weak), ("strong", pool.strong)):
                p = rate.astype(np.float64)
                numbers[f"anchor {name}"] = np.log((p + MARGIN) / (1 - p + MARGIN))
        if prior.kind == 2:
            alpha, beta = prior.task_alpha.astype(np.float64), prior.task_beta.astype(np.float64)
            numbers["prior"] = prior_logit(alpha, beta)
        return numbers

    def _known_numbers(self, pool: TaskPool, prior: Prior) -> list[Float64]:
        """The features that there were at first, of another pool: it may lack or have new reference pass rates."""
        numbers = self._numbers(pool, prior)
        return [numbers.get(name, np.full(len(pool), np.nan)) for name in self.feature_names]

    def _encode(
        self, pool: TaskPool, numbers: list[Float64], points: list[Codes], most: int | None
    ) -> npt.NDArray[np.int32]:
        """Stratum of each row, int32 (K,); an empty array where there would be more than `most` strata."""
        codes = [self._column(pool, place) for place in range(len(self.columns))]
        codes += [
            np.where(
                np.isnan(x), len(b["means"]), np.searchsorted(b["edges"], np.nan_to_num(x), side="right")
            )
            for x, b in zip(numbers, self._bins, strict=True)
        ]
        codes += points
        radices = [int(code.max()) + 1 for code in codes]
        key = np.zeros(len(pool), np.int64)
        distinct, inverse = np.zeros(1, np.int64), np.zeros(len(pool), np.int64)
        parts: list[Codes] = [np.zeros(1, np.int64)]
        for code, radix in zip(codes, radices, strict=True):
            key = inverse * radix + code
            distinct, inverse = np.unique(key, return_inverse=True)
            parts = [part[distinct // radix] for part in parts] + [distinct % radix]
        found = np.stack(parts[1:], axis=1)
        width = len(self.columns)
        cells = np.unique(found[:, :width], axis=0)
        if len(cells) > MAX_CELLS:
            raise ValueError(
                f"columns {list(self.columns)} make {len(cells)} cells; at most {MAX_CELLS} are possible. Name coarser "
                "columns in belief_options, or make the finest one an integer, which is put into bins"
            )
        if most is not None and len(found) > most:
            return np.empty(0, np.int32)
        numbered = np.empty(len(found), np.int32)
        for at, line in enumerate(found.tolist()):
            stratum = tuple(line)
            self._cells.setdefault(stratum[:width], len(self._cells))
            numbered[at] = self._strata.setdefault(stratum, len(self._strata))
        return numbered[inverse]

    def _column(self, pool: TaskPool, place: int) -> Codes:
        """Code of a categorical column's value in each row; new values get new codes."""
        name = self.columns[place]
        if name == "domain":
            values: list[Any] = list(pool.domains)
            codes = pool.domain_codes.astype(np.int64)
        else:
            column, kind = _typed(pool, name)
            ordered = bool(pa.types.is_integer(kind)) and place > 0
            if self._categories[place] and ordered != self._is_ordered[place]:
                before = "integers" if self._is_ordered[place] else "text or booleans"
                raise ValueError(
                    f"column {name!r} has type {kind}, and held {before} before; give it that type again"
                )
            self._is_ordered[place] = ordered
            if ordered:
                values, codes = self._ordered(place, column)
            else:
                encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
                values = [*encoded.dictionary.to_pylist(), None]
                codes = (
                    encoded.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False).astype(np.int64)
                )
        if len(values) > MAX_CELLS:
            raise ValueError(
                f"column {name!r} has {len(values)} values; at most {MAX_CELLS} are possible. Make it an integer, "
                "which is put into bins, name coarser columns in belief_options, or take belief='beta'"
            )
        known = {value: code for code, value in enumerate(self._categories[place])}
        for value in values:
            if value not in known:
                known[value] = len(known)
                self._categories[place].append(value)
        return np.array([known[value] for value in values], np.int64)[codes]

    def _ordered(self, place: int, column: pa.ChunkedArray) -> tuple[list[Any], Codes]:
        """Values of an ordered column, as text of a number, and codes; in bins where there are many."""
        missing = column.is_null().to_numpy()
        numbers = column.cast(pa.float64(), safe=False).fill_null(0.0).to_numpy()
        given = numbers[~missing]
        first_time = self._edges[place] is None and not self._categories[place]
        if first_time and len(np.unique(given)) > ORDINAL_BINS:
            inner = np.quantile(given, np.arange(1, ORDINAL_BINS) / ORDINAL_BINS)
            self._edges[place] = np.unique(inner).tolist()
        edges = self._edges[place]
        if edges is not None:
            numbers = np.searchsorted(edges, numbers, side="right").astype(np.float64)
        distinct, codes = np.unique(numbers, return_inverse=True)
        values: list[Any] = [*(repr(float(value)) for value in distinct), None]
        return values, np.where(missing, len(distinct), codes)

    def _refresh(self) -> None:
        width = len(self.columns)
        self.cells = np.array(list(self._cells), np.int64).reshape(-1, width)
        keys = np.array(list(self._strata), np.int64).reshape(len(self._strata), -1)
        self.cell = np.array([self._cells[tuple(key[:width].tolist())] for key in keys], np.int64)
        self.domain = self.cells[self.cell, 0]
        self.position = np.full(self.cells.shape, np.nan)
        for place, categories in enumerate(self._categories):
            if self._is_ordered[place]:
                where = np.array([np.nan if value is None else float(value) for value in categories])
                self.position[:, place] = where[self.cells[:, place]]
        means = [np.append(b["means"], 0.0) for b in self._bins]
        bins = keys[:, width:]
        self.values = np.zeros((len(keys), len(means)))
        self.unknown = np.zeros((len(keys), len(means) + len(self._embeddings)), bool)
        embedded = [np.zeros((len(keys), 0))]
        for place, embedding in enumerate(self._embeddings, len(means)):
            embedded.append(embedding.values()[bins[:, place]])
            self.unknown[:, place] = bins[:, place] == embedding.missing
        self.embedded: Float64 = np.concatenate(embedded, axis=1)
        for place, mean in enumerate(means):
            self.values[:, place] = mean[bins[:, place]]
            self.unknown[:, place] = bins[:, place] == len(mean) - 1

    def domain_code(self, name: str) -> int:
        """Code of a domain in column 0."""
        return self._categories[0].index(name)

    def label(self, cell: int) -> str:
        """The cell's values, for people."""
        return "/".join(
            str(self._categories[place][code]) for place, code in enumerate(self.cells[cell].tolist())
        )

    def grow(self, pool: TaskPool, prior: Prior) -> None:
        """Encode the grown pool; known values keep their numbers, and known tasks the points of their embeddings."""
        keys = np.array(list(self._strata), np.int64)[self.stratum]
        first = keys.shape[1] - len(self._embeddings)
        points = [
            np.concatenate([keys[:, first + place], embedding.codes(pool, len(keys))])
            for place, embedding in enumerate(self._embeddings)
        ]
        self.stratum = self._encode(pool, self._known_numbers(pool, prior), points, None)
        self._refresh()

    def state_dict(self) -> dict[str, Any]:
        """Columns, values, bins and numbers, as JSON values."""
        return {
            "columns": list(self.columns),
            "features": list(self.features),
            "feature_names": list(self.feature_names),
            "ordered": self._is_ordered,
            "categories": self._categories,
            "edges": self._edges,
            "bins": self._bins,
            "cells": np.array(list(self._cells), np.int64),
            "strata": np.array(list(self._strata), np.int64),
            "embeddings": [embedding.state_dict() for embedding in self._embeddings],
        }

    def load_state_dict(self, pool: TaskPool, prior: Prior, state: dict[str, Any]) -> None:
        """Restore the columns, which a pool may have got later, and the numbers, which depend on how it grew."""
        self.columns = tuple(state.get("columns", self.columns))
        self.features = tuple(state.get("features", self.features))
        self.feature_names = tuple(state.get("feature_names", self.feature_names))
        self._categories, self._edges, self._bins = state["categories"], state["edges"], state["bins"]
        # An older snapshot doesn't say; it took text that looks like numbers for ordered.
        self._is_ordered = list(state.get("ordered", map(_are_numbers, self._categories)))
        self._is_ordered[0] = False
        self._cells = {tuple(cell): number for number, cell in enumerate(state["cells"].tolist())}
        self._strata = {tuple(stratum): number for number, stratum in enumerate(state["strata"].tolist())}
        self._embeddings = [Embedding.of(one) for one in state.get("embeddings", [])]
        # Strata come with the columns: the pool may have other features now, and the nearest point may hang on
        # rounding. Older snapshots have them with embeddings only.
        if "columns" not in state and not self._embeddings:
            self.stratum = self._encode(pool, self._known_numbers(pool, prior), [], None)
        self._refresh()


def _are_numbers(values: Sequence[str | None]) -> bool:
    try:
        return bool([float(value) for value in values if value is not None])
    except ValueError:
        return False


def _typed(pool: TaskPool, name: str) -> tuple[pa.ChunkedArray, pa.DataType]:
    column = _present(pool, name)
    kind = plain_type(column)
    if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or is_text(kind)):
        raise ValueError(
            f"column {name!r} has type {kind}; cells are made of text, integers or booleans (numbers: name it in "
            "`features`)"
        )
    return column.cast(kind), kind


def _present(pool: TaskPool, name: str) -> pa.ChunkedArray:
    if name not in pool.table.column_names:
        raise ValueError(
            f"belief 'state_space' needs the column {name!r}; the pool has {', '.join(pool.table.column_names)}"
        )
    return pool.table[name]


def _numeric(pool: TaskPool, name: str) -> Float64:
    column = _present(pool, name)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise ValueError(
            f"feature {name!r} has type {column.type}; it must hold numbers, or lists of floats of one length"
        )
    numbers: Float64 = column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy()
    return np.where(np.isfinite(numbers), np.clip(numbers, -LARGEST_NUMBER, LARGEST_NUMBER), np.nan)


def _bins(values: Float64, most: int) -> dict[str, Any]:
    """Edges of at most `most` bins and the mean of each, centred and scaled by the column's own."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return {"edges": [], "means": [0.0], "centre": 0.0, "scale": 1.0}
    distinct = np.unique(known)
    if len(distinct) <= most:
        edges = (distinct[1:] + distinct[:-1]) / 2
    else:
        edges = np.unique(np.quantile(known, np.arange(1, most) / most))
    place = np.searchsorted(edges, known, side="right")
    count = np.maximum(np.bincount(place, minlength=len(edges) + 1), 1)
    means = np.bincount(place, known, len(edges) + 1) / count
    centre, scale = float(known.mean()), float(known.std()) or 1.0
    return {
        "edges": edges.tolist(),
        "means": ((means - centre) / scale).tolist(),
        "centre": centre,
        "scale": scale,
    }
