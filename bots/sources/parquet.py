"""Tasks from parquet files, read row group by row group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from bots.config.pool import ParquetSource
from bots.sources.base import PIECE_ROWS, Piece, Shard, SourceError
from bots.sources.files import find_files

SHARD_ROWS = 65_536


@dataclass(frozen=True)
class ParquetShard:
    """Some consecutive row groups of one file."""

    path: str
    row_groups: tuple[int, ...]
    first: int

    def read(self, columns: list[str]) -> Iterator[Piece]:
        row = self.first
        with _open(self.path) as file:
            batches = file.iter_batches(PIECE_ROWS, row_groups=list(self.row_groups), columns=columns)
            while (batch := self._next(batches, row)) is not None:
                yield Piece(pa.Table.from_batches([batch]), f"{self.path}, row {{}}", row)
                row += batch.num_rows

    def _next(self, batches: Iterator[pa.RecordBatch], row: int) -> pa.RecordBatch | None:
        try:
            return next(batches, None)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{self.path} is damaged at or after row {row}: {error}") from error


class Parquet:
    """One file or several with the same columns."""

    def __init__(self, settings: ParquetSource) -> None:
        self.name = settings.path
        self._files = _find(settings.path)

    def schema(self) -> pa.Schema:
        first = _schema(self._files[0])
        for path in self._files[1:]:
            missing = set(first.names) - set(_schema(path).names)
            if missing:
                raise SourceError(
                    f"{path} lacks columns that {self._files[0]} has: {', '.join(sorted(missing))}; "
                    "make them two sources"
                )
        return first

    def shards(self) -> list[Shard]:
        """Row groups, gathered to about SHARD_ROWS rows."""
        shards: list[Shard] = []
        for path in self._files:
            with _open(path) as file:
                counts = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
            start = row = gathered = 0
            for group, count in enumerate(counts):
                gathered += count
                if gathered >= SHARD_ROWS or group == len(counts) - 1:
                    shards.append(ParquetShard(path, tuple(range(start, group + 1)), row))
                    start, row, gathered = group + 1, row + gathered, 0
        return shards


def _find(path: str) -> list[str]:
    if "://" not in path:
        return find_files(path, (".parquet",))
    try:
        system, inside = fs.FileSystem.from_uri(path)
        if system.get_file_info(inside).is_file:
            return [path]
        listed = system.get_file_info(fs.FileSelector(inside, recursive=True))
    except FileNotFoundError as error:
        raise SourceError(f"no such file or folder: {path}") from error
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} cannot be reached: {error}") from error
    scheme = path.split("://")[0]
    # What follows the question mark names the place, such as an endpoint of one's own.
    options = "".join(path.partition("?")[1:])
    files = sorted(entry.path for entry in listed if entry.path.endswith(".parquet"))
    found = [f"{scheme}://{file}{options}" for file in files]
    if not found:
        raise SourceError(f"{path} has no file that ends in .parquet")
    return found


def _open(path: str) -> pq.ParquetFile:
    try:
        if "://" in path:
            system, inside = fs.FileSystem.from_uri(path)
            return pq.ParquetFile(system.open_input_file(inside))
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} cannot be read as parquet: {error}") from error


def _schema(path: str) -> pa.Schema:
    with _open(path) as file:
        schema = file.schema_arrow
    if again := [name for name in schema.names if schema.names.count(name) > 1]:
        raise SourceError(f"{path} has two columns called {again[0]!r}")
    return schema
