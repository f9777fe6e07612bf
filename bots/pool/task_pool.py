"""TaskPool: the tasks as one immutable Arrow table, with the reference pass rates as NumPy columns."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bots.support.arrays import Rows
from bots.support.digest import Digest, add_content, text_bytes, text_lengths

IDENTITY = ("prompt", "answer", "grader", "domain", "level")
"""Columns that make a task what it is, beside its id: with another value it is another task."""
CONTENT = "__content__"
"""Column of digests in place of the columns that they were made from, where these were left out."""
_OF_CONTENT = "content:"


class PoolError(ValueError):
    """A pool that cannot be used; names the column, the row and the way out."""


def plain_type(column: pa.ChunkedArray) -> pa.DataType:
    """Type of a column's values, also if dictionary-encoded."""
    return column.type.value_type if pa.types.is_dictionary(column.type) else column.type


EMBEDDING = "embedding"
"""The column of embeddings, lists of floats of one length."""


def is_text(kind: pa.DataType) -> bool:
    """Whether values of a type are strings of any length."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_embedding(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are lists of floats."""
    lists = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(lists and pa.types.is_floating(kind.value_type))


class TaskPool:
    """K tasks as an Arrow table. Rows are numbered 0 … K-1 and never move.

    Columns with a meaning (others are kept unchanged):

    ========  ==================  =====================================================
    column    type                meaning
    ========  ==================  =====================================================
    id        string              stable name, unique; the row number if absent
    prompt    string or messages  the policy's input (list of {role, content} or text)
    answer    string              the reference answer, for the grader
    domain    string              e.g. math, code, logic; "default" if absent
    grader    string              which grader scores the completions
    level     integer or string   tasks of one domain and level are about equally hard; null where unknown. Floats are
                                  taken as integers if all are whole, as pandas has integers with nulls
    ========  ==================  =====================================================

    Only the number of rows matters to selection; `require` checks the columns that training needs.

    table: the Arrow table with K rows.
    weak, strong: names of the columns that hold the pass rates of a weak and a strong reference model,
        numbers in [0, 1]; null or NaN where unknown. None: no anchors.
    Raises PoolError for no rows, duplicate or null ids, missing anchor columns, anchors outside [0, 1].
    """

    def __init__(self, table: pa.Table, weak: str | None = None, strong: str | None = None) -> None:
        if table.num_rows == 0:
            raise PoolError("the pool has no rows")
        if (weak is None) != (strong is None):
            raise PoolError(
                f"weak and strong anchors must be given together; got weak={weak!r}, strong={strong!r}"
            )
        self._numbered = "id" not in table.column_names
        self.table = _with_whole_levels(_with_ids(table))
        self.weak = _anchor(self.table, "weak", weak)
        self.strong = _anchor(self.table, "strong", strong)
        self.weak_column, self.strong_column = weak, strong

    @classmethod
    def from_arrow(
        cls, table: pa.Table, weak: str | None = None, strong: str | None = None, *, level: str | None = None
    ) -> TaskPool:
        """Use a table that is already in memory; columns are not copied.

        level: name of the column that holds the tasks' levels; None: `level`, where there is one.
        """
        return cls(_with_level(table, level), weak, strong)

    @classmethod
    def from_parquet(
        cls,
        path: str | Path,
        weak: str | None = None,
        strong: str | None = None,
        *,
        level: str | None = None,
    ) -> TaskPool:
        """Read one parquet file or a folder of them; level: as of `from_arrow`."""
        if not Path(path).exists():
            raise PoolError(f"no such pool: {path}")
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise PoolError(f"{path} cannot be read as parquet: {error}") from error
        return cls.from_arrow(table, weak, strong, level=level)

    @classmethod
    def from_dataset(
        cls, dataset: Any, weak: str | None = None, strong: str | None = None, *, level: str | None = None
    ) -> TaskPool:
        """The rows of a Hugging Face `Dataset`, in its order; see `bots.support.datasets.table_of`.

        level: as of `from_arrow`. Raises PoolError for an IterableDataset, a DatasetDict and missing columns.
        """
        from bots.support.datasets import table_of

        try:
            table = table_of(dataset)
        except TypeError as error:
            raise PoolError(str(error)) from None
        return cls.from_arrow(table, weak, strong, level=level)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def has_anchors(self) -> bool:
        """Whether reference pass rates were given (some may be unknown)."""
        return self.weak_column is not None

    @property
    def anchored(self) -> int:
        """Number of tasks with both reference pass rates known."""
        return int(np.sum(~np.isnan(self.weak + self.strong))) if self.has_anchors else 0

    @property
    def has_levels(self) -> bool:
        """Whether any task's level is known."""
        if "level" not in self.table.column_names:
            return False
        column = self.table["level"]
        kind = plain_type(column)
        return (is_text(kind) or bool(pa.types.is_integer(kind))) and column.null_count < len(column)

    @property
    def has_embeddings(self) -> bool:
        """Whether any task's embedding is known."""
        if EMBEDDING not in self.table.column_names:
            return False
        column = self.table[EMBEDDING]
        return is_embedding(column.type) and column.null_count < len(column)

    @property
    def anchor_columns(self) -> tuple[str | None, str | None]:
        """Names of the weak and the strong column."""
        return self.weak_column, self.strong_column

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """The domain names, in order of first appearance."""
        return tuple(self._encoded_domains.dictionary.to_pylist())

    @cached_property
    def domain_codes(self) -> npt.NDArray[np.int16]:
        """int16 (K,): index into `domains` of each row."""
        codes: npt.NDArray[np.int16] = self._encoded_domains.indices.to_numpy().astype(np.int16)
        return codes

    @cached_property
    def _encoded_domains(self) -> pa.DictionaryArray:
        if "domain" not in self.table.column_names:
            zeros = pa.array(np.zeros(len(self), np.int32))
            return pa.DictionaryArray.from_arrays(zeros, pa.array(["default"]))
        column = self.table["domain"]
        if column.null_count:
            raise PoolError(f"domain is null in row {_first_true(pc.is_null(column))}")
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        encoded = column.combine_chunks().dictionary_encode()
        if len(encoded.dictionary) > np.iinfo(np.int16).max:
            raise PoolError(
                f"{len(encoded.dictionary)} domains; at most {np.iinfo(np.int16).max} are possible"
            )
        return encoded

    @cached_property
    def content(self) -> npt.NDArray[np.uint64]:
        """uint64 (K,): a digest of what a run depends on in each row: its prompt, answer, grader, domain and level.

        Of all columns where the pool has neither ids nor prompts and answers. A pool that `actors.posterior.write_pool`
        wrote has no prompts; it brings the digests along, in the column `__content__`.
        """
        columns = self.table.column_names
        if CONTENT in columns:
            brought: npt.NDArray[np.uint64] = self.table[CONTENT].to_numpy()
            return brought
        known = [name for name in IDENTITY if name in columns]
        if self._numbered and not {"prompt", "answer"} & set(columns):
            known = columns
        # Here, since it loads numba: every process has a pool, and few need its digests.
        from bots.support.row_digest import row_digests

        return row_digests(self.table.select(known))

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the ids and of `content`, in order: two pools with the same one are the same to a run."""
        return self.prefix_fingerprint(len(self))

    def prefix_fingerprint(self, rows: int) -> str:
        """Fingerprint of a pool that has only the first `rows` rows; independent of how Arrow chunks them."""
        digest = hashlib.sha256(f"{rows}".encode())
        self._add_ids(digest, rows)
        digest.update(self.content[:rows].tobytes())
        return f"{_OF_CONTENT}{digest.hexdigest()}"

    def begins_with(self, fingerprint: str, rows: int) -> bool:
        """Whether the first `rows` rows are those of the pool with this fingerprint, which may be of any version.

        Those of earlier versions know the ids only (or, in a pool without ids, prompts and answers).
        """
        if rows > len(self):
            return False
        if fingerprint.startswith(_OF_CONTENT):
            return self.prefix_fingerprint(rows) == fingerprint
        return self.id_fingerprint(rows) == fingerprint

    def id_fingerprint(self, rows: int) -> str:
        """The fingerprint as earlier versions made it, to read what they wrote."""
        digest = hashlib.sha256(f"{rows}".encode())
        self._add_ids(digest, rows)
        if self._numbered:
            # By row numbers alone any two pools of the same size would be equal.
            known = [name for name in ("prompt", "answer") if name in self.table.column_names]
            add_content(digest, self.table.select(known or self.table.column_names).slice(0, rows))
        return digest.hexdigest()

    def _add_ids(self, digest: Digest, rows: int) -> None:
        chunks = self.table["id"].slice(0, rows).chunks
        # Lengths before bytes: ids "a","bc" must not look like "ab","c".
        for chunk in chunks:
            digest.update(text_lengths(chunk))
        for chunk in chunks:
            digest.update(text_bytes(chunk))

    def head(self, rows: int) -> TaskPool:
        """The pool of the first `rows` rows, on the same memory."""
        pool = TaskPool(self.table.slice(0, rows), self.weak_column, self.strong_column)
        pool._numbered = self._numbered
        pool.content = self.content[:rows]
        return pool

    def ids(self, rows: Sequence[int] | Rows | None = None) -> list[str]:
        """Names of the given rows (all rows without an argument)."""
        column = self.table["id"]
        taken: list[str] = (column if rows is None else column.take(pa.array(rows))).to_pylist()
        return taken

    def rows(self, ids: Sequence[str]) -> Rows:
        """Row numbers of the tasks with these ids, int64 (len(ids),). Raises PoolError, naming the first unknown id."""
        try:
            return np.fromiter((self._row_of[name] for name in ids), np.int64, len(ids))
        except KeyError as error:
            raise PoolError(
                f"the pool has no task {error.args[0]!r}; its ids are like {self.ids([0])[0]!r}"
            ) from None

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids())}

    def take(self, rows: Sequence[int] | Rows, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The given rows as dicts with the given columns, in the given order."""
        taken: list[dict[str, Any]] = self.table.select(list(columns)).take(pa.array(rows)).to_pylist()
        return taken

    def require(self, *columns: str) -> None:
        """Raise PoolError unless every column is there and has no null and no empty text."""
        for name in columns:
            if name not in self.table.column_names:
                raise PoolError(
                    f"the pool has no column {name!r}; it has {', '.join(self.table.column_names)}"
                )
            column = self.table[name]
            if column.null_count:
                row = _first_true(pc.is_null(column))
                raise PoolError(f"{name} is null in row {row} (id {self.ids([row])[0]})")
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0)
                if pc.any(empty).as_py():
                    row = _first_true(empty)
                    raise PoolError(f"{name} is empty in row {row} (id {self.ids([row])[0]})")


def _with_ids(table: pa.Table) -> pa.Table:
    """The table with a checked string column `id`, made from the row numbers if it has none."""
    if "id" not in table.column_names:
        numbers = pa.array(np.arange(table.num_rows)).cast(pa.string())
        return table.append_column("id", numbers)
    ids = table["id"]
    if (
        pa.types.is_integer(ids.type)
        or pa.types.is_dictionary(ids.type)
        or pa.types.is_large_string(ids.type)
    ):
        ids = ids.cast(pa.string())
        table = table.set_column(table.column_names.index("id"), "id", ids)
    if not pa.types.is_string(ids.type):
        raise PoolError(f"column id has type {ids.type}; it must be a string or an integer")
    if ids.null_count:
        raise PoolError(f"id is null in row {_first_true(pc.is_null(ids))}")
    if pc.count_distinct(ids).as_py() != table.num_rows:
        counts = ids.value_counts()
        repeated = counts.filter(pc.greater(counts.field("counts"), 1))
        example = repeated[0].as_py()
        raise PoolError(
            f"{len(repeated)} ids occur more than once, for example {example['values']!r} "
            f"({example['counts']} times); ids must be unique"
        )
    return table


def _with_level(table: pa.Table, name: str | None) -> pa.Table:
    """The table with this column as `level`, in place of one that had this name."""
    if name is None:
        return table
    _require_column(table, "level", name)
    kept = table.drop_columns(["level"]) if name != "level" and "level" in table.column_names else table
    return kept.rename_columns(["level" if other == name else other for other in kept.column_names])


def _with_whole_levels(table: pa.Table) -> pa.Table:
    """The table with a column `level` of whole floats as integers, NaN as null; ids of a pool know no difference."""
    if "level" not in table.column_names or not pa.types.is_floating(table["level"].type):
        return table
    levels = pc.if_else(pc.is_nan(table["level"]), None, table["level"])
    try:
        whole = levels.cast(pa.int64())
    except pa.ArrowInvalid:
        return table
    return table.set_column(table.column_names.index("level"), "level", whole)


def _require_column(table: pa.Table, meaning: str, name: str) -> None:
    if name not in table.column_names:
        raise PoolError(
            f"the pool has no column {name!r} ({meaning}); it has {', '.join(table.column_names)}"
        )


def _anchor(table: pa.Table, meaning: str, name: str | None) -> npt.NDArray[np.float32]:
    """float32 (K,) of one anchor column, NaN where unknown."""
    if name is None:
        return np.full(table.num_rows, np.nan, np.float32)
    _require_column(table, meaning, name)
    column = table[name]
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise PoolError(f"anchor column {name!r} has type {column.type}; it must hold numbers in [0, 1]")
    values: npt.NDArray[np.float32] = column.cast(pa.float32()).fill_null(float("nan")).to_numpy()
    outside = (values < 0) | (values > 1)
    if outside.any():
        row = int(np.argmax(outside))
        task = table["id"][row].as_py()
        raise PoolError(f"anchor {name!r} is {values[row]} in row {row} (id {task}); it must be in [0, 1]")
    return values


def _first_true(mask: pa.ChunkedArray) -> int:
    """Row number of the first true value."""
    return int(np.argmax(mask.to_numpy()))
