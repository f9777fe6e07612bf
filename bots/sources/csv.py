"""Tasks from CSV and TSV files, plain or gzipped. Every value is text, as it is written: "007" stays "007"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pc

from bots.config.pool import CsvSource
from bots.config.source_kind import SUFFIXES
from bots.sources.base import Piece, Shard, SourceError
from bots.sources.files import find_files
from bots.sources.guru import STRONG, WEAK

NUMBERS = ("weak", "strong", "level")
"""Normal columns of numbers."""
BLOCK_BYTES = 64 << 20
"""Arrow reads a row only if it fits into a block, and a code task's tests have megabytes."""


@dataclass(frozen=True)
class CsvShard:
    """One whole file: where a row begins depends on the quotes before it."""

    path: str
    numbers: tuple[str, ...]

    def read(self, columns: list[str]) -> Iterator[Piece]:
        row = 0
        reader = _open(self.path, self.numbers, columns)
        try:
            for batch in reader:
                yield Piece(pa.Table.from_batches([batch]).select(columns), f"{self.path}, row {{}}", row + 1)
                row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{self.path} is damaged after row {row}: {error}") from error


class Csv:
    """One file or several with the same columns, named in the first line of each."""

    def __init__(self, settings: CsvSource) -> None:
        self.name = settings.path
        self._files = find_files(settings.path, SUFFIXES["csv"])
        named = (settings.columns.get(name, name) for name in NUMBERS)  # type: ignore[call-overload]
        self._numbers = (*named, WEAK, STRONG)

    def schema(self) -> pa.Schema:
        first = _open(self._files[0], self._numbers, None).schema
        for path in self._files[1:]:
            missing = set(first.names) - set(_open(path, self._numbers, None).schema.names)
            if missing:
                raise SourceError(
                    f"{path} lacks columns that {self._files[0]} has: {', '.join(sorted(missing))}; "
                    "make them two sources"
                )
        return first

    def shards(self) -> list[Shard]:
        return [CsvShard(path, self._numbers) for path in self._files]


def _open(path: str, numbers: tuple[str, ...], columns: list[str] | None) -> pc.CSVStreamingReader:
    delimiter = "\t" if ".tsv" in path.lower() else ","
    parse = pc.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        names = _columns(path, parse)
        types = {name: pa.float64() if name in numbers else pa.string() for name in names}
        convert = pc.ConvertOptions(
            column_types=types,
            include_columns=columns or [],
            # An empty number is unknown; an empty text is one, and named as such.
            null_values=["", "null", "NaN", "nan"],
            strings_can_be_null=False,
        )
        return pc.open_csv(
            _stream(path), pc.ReadOptions(use_threads=False, block_size=BLOCK_BYTES), parse, convert
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as CSV: {error}") from error


def _columns(path: str, parse: pc.ParseOptions) -> list[str]:
    names: list[str] = pc.open_csv(_stream(path), pc.ReadOptions(block_size=BLOCK_BYTES), parse).schema.names
    if len(set(names)) < len(names):
        again = next(name for name in names if names.count(name) > 1)
        raise SourceError(f"{path} has two columns called {again!r}")
    return names


def _stream(path: str) -> pa.NativeFile:
    return pa.input_stream(path, compression="gzip" if path.endswith(".gz") else None)
