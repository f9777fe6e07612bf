"""Tasks from JSON lines: Arrow's parser for whole blocks, an exact one for a block with a broken row."""

from __future__ import annotations

import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.json as pj

from bots.config.pool import JsonLinesSource
from bots.config.source_kind import SUFFIXES
from bots.sources.base import Piece, Shard, SourceError
from bots.sources.files import find_files

GZIP = ".gz"
BLOCK_BYTES = 4 << 20
SHARD_BYTES = 64 << 20
SAMPLED_LINES = 1000


@dataclass(frozen=True)
class JsonLinesShard:
    """The lines that start in bytes start … end of one file."""

    path: str
    start: int
    end: int
    schema: pa.Schema

    def read(self, columns: list[str]) -> Iterator[Piece]:
        schema = pa.schema([self.schema.field(name) for name in columns])
        with opened(self.path) as file:
            line = _seek_line(file, self.start)
            while file.tell() < self.end:
                lines = file.readlines(min(BLOCK_BYTES, self.end - file.tell()))
                if not lines:
                    break
                for number, run in _runs(lines):
                    yield _parse(run, schema, f"{self.path}, line {{}}", line + 1 + number)
                line += len(lines)


class JsonLines:
    """One file or several. A field's type is that of its first value that is not null."""

    def __init__(self, settings: JsonLinesSource) -> None:
        self.name = settings.path
        self._files = find_files(settings.path, SUFFIXES["jsonl"])
        self._schema: pa.Schema | None = None

    def schema(self) -> pa.Schema:
        if self._schema is None:
            self._schema = _sample_schema(self._files[0])
        return self._schema

    def shards(self) -> list[Shard]:
        shards: list[Shard] = []
        for path in self._files:
            if path.endswith(GZIP):  # can't be entered in the middle
                shards.append(JsonLinesShard(path, 0, sys.maxsize, self.schema()))
                continue
            size = Path(path).stat().st_size
            shards += [
                JsonLinesShard(path, start, min(start + SHARD_BYTES, size), self.schema())
                for start in range(0, size, SHARD_BYTES)
            ]
        return shards


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked if it is gzipped. Raises SourceError where they are damaged."""
    try:
        with gzip.open(path, "rb") if path.endswith(GZIP) else open(path, "rb") as file:
            yield file  # type: ignore[misc]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(f"{path} is damaged: {error}") from error


def _sample_schema(path: str) -> pa.Schema:
    """Field → type, from the first lines that can be read."""
    values: dict[str, list[Any]] = {}
    why = ""
    with opened(path) as file:
        for number, line in enumerate(islice(file, SAMPLED_LINES), 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                why = why or f"; line {number}: {error}"
                continue  # reported with its line when the rows are read
            if isinstance(row, list) and row and isinstance(row[0], dict):
                why = f"; line {number} is one array of them: write each in a line of its own"
            if isinstance(row, dict):
                for name, value in row.items():
                    seen = values.setdefault(name, [])
                    # The first value settles the type; more of them only complete a list or an object.
                    if value is not None and (not seen or _kind(value) == _kind(seen[0])):
                        seen.append(value)
    if not values:
        raise SourceError(f"{path} has no line with a JSON object{why}")
    return pa.schema([(name, _infer(seen)) for name, seen in values.items()])


def _infer(seen: list[Any]) -> pa.DataType:
    if seen and isinstance(seen[0], int | float) and not isinstance(seen[0], bool):
        return pa.int64() if all(isinstance(value, int) for value in seen) else pa.float64()
    for values in (seen, seen[:1]):
        with suppress(pa.ArrowInvalid, OverflowError):
            return pa.infer_type(values)
    # A list of unlike things, say. Where the field is wanted, its rows are bad.
    return pa.string()


def _seek_line(file: BinaryIO, start: int) -> int:
    """Go to the first line that starts at or after byte `start`; returns its number, from 0."""
    line = position = 0
    while position < start:
        block = file.read(min(BLOCK_BYTES, start - position))
        line += block.count(b"\n")
        position += len(block)
    if start:
        file.seek(start - 1)
        if file.read(1) != b"\n":
            file.readline()
            line += 1
    return line


def _runs(lines: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Runs of lines that are not blank, each with the number of its first line."""
    numbered = groupby(enumerate(lines), key=lambda line: bool(line[1].strip()))
    for run in (list(run) for filled, run in numbered if filled):
        yield run[0][0], [line for _, line in run]


def _parse(lines: list[bytes], schema: pa.Schema, where: str, first: int) -> Piece:
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    text = b"".join(lines)
    try:
        read = pj.ReadOptions(use_threads=False, block_size=len(text) + 1)
        table = pj.read_json(io.BytesIO(text), read_options=read, parse_options=options)
        if table.num_rows == len(lines):  # else row numbers would be wrong
            return Piece(table.select(schema.names), where, first)
    except pa.ArrowInvalid:
        pass  # the exact parser says which row it is
    return _parse_exactly(lines, schema, where, first)


def _parse_exactly(lines: list[bytes], schema: pa.Schema, where: str, first: int) -> Piece:
    """One line at a time. A row that cannot be read is null in every column and explained in `broken`."""
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    broken: dict[int, str] = {}
    for number, line in enumerate(lines):
        values: dict[str, Any] = {}
        try:
            row = json.loads(line)
            if isinstance(row, dict):
                values = {field.name: _fit(row.get(field.name), field) for field in schema}
            else:
                broken[number] = f"a {_kind(row)}, not an object"
        except (ValueError, TypeError, RecursionError, pa.ArrowException) as error:
            broken[number] = (
                f"broken JSON: {error}" if isinstance(error, json.JSONDecodeError) else str(error)
            )
            values = {}
        for name, column in columns.items():
            column.append(values.get(name))
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema})
    return Piece(table, where, first, broken)


def _fit(value: Any, field: pa.Field) -> Any:
    """The value if it has the field's type. Raises ValueError for another one."""
    if value is None:
        return None
    try:
        return pa.array([value], field.type, from_pandas=False)[0].as_py()
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        raise ValueError(
            f"{field.name} is a {_kind(value)} ({json.dumps(value)[:40]}), "
            f"but {field.type} in the file's first lines"
        ) from None


def _kind(value: Any) -> str:
    kinds = {str: "text", bool: "truth value", int: "number", float: "number", list: "list", dict: "object"}
    return kinds.get(type(value), "null")
