"""What a source of tasks is: shards that can be read one by one, anywhere, as pieces of an Arrow table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
NORMAL = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", MESSAGES),
        ("answer", pa.string()),
        ("domain", pa.string()),
        ("grader", pa.string()),
        ("level", pa.int32()),
        ("weak", pa.float32()),
        ("strong", pa.float32()),
        ("weight", pa.float32()),
    ]
)
"""The normal schema: what every source is brought to. Kept columns follow it. `level`, `weak` and `strong`
are null where unknown; nothing else is ever null."""
PROBLEM = "problem"
"""Extra column of a normalised piece: why a row is bad, null for a good one."""
REPEATED = "repeated"
"""Extra column of a normalised piece: whether the row's data set says that it holds each task several times."""
SET = "set"
"""Extra column of a pool: the evaluation set that a task belongs to."""
PIECE_ROWS = 8192
"""Rows in one piece that a shard yields: large enough for Arrow's speed, small enough for the memory."""


class SourceError(ValueError):
    """A source that cannot be used, with its file, column or row and the way out."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A few thousand rows of a source as they lie there.

    table: the source's own columns, at least those that are wanted.
    where: names a row for an error message when it is filled with the row's number: "math.parquet, row {}".
    first: number of the table's first row.
    broken: row of the table → why it could not be read; such a row's values are all null.
    """

    table: pa.Table
    where: str
    first: int
    broken: Mapping[int, str] = field(default_factory=dict)

    def place(self, row: int) -> str:
        """What to call row `row` of the table when talking to a person."""
        return self.where.format(self.first + row)


class Shard(Protocol):
    """A part of a source. Can be pickled and read on another machine that sees the same files."""

    def read(self, columns: list[str]) -> Iterator[Piece]:
        """Yield the rows in order; `columns` are the top-level columns that are wanted."""
        ...


class Source(Protocol):
    """Tasks of one kind in one place."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    def schema(self) -> pa.Schema:
        """The source's own columns. Raises SourceError where the source is missing or its files disagree."""
        ...

    def shards(self) -> list[Shard]:
        """The parts, in order. Cheap: reads no rows."""
        ...
