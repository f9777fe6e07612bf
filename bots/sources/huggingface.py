"""Tasks from the Hugging Face `datasets` library, which keeps them as memory-mapped Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from bots.config.pool import HuggingFaceSource
from bots.sources.base import PIECE_ROWS, Piece, Shard, SourceError

SHARD_ROWS = 65_536
SUBSETS = {"openai/gsm8k": "main", "gsm8k": "main"}
"""Subsets that are meant where none is named, of sets that have several."""


@dataclass(frozen=True)
class HuggingFaceShard:
    """Rows first … last - 1 of one split. The reader opens the data set itself, from the library's cache."""

    settings: HuggingFaceSource
    first: int
    last: int

    def read(self, columns: list[str]) -> Iterator[Piece]:
        dataset = _load(self.settings).select_columns(columns).with_format("arrow")
        for start in range(self.first, self.last, PIECE_ROWS):
            table: pa.Table = dataset[start : min(start + PIECE_ROWS, self.last)]
            yield Piece(table, f"{self.settings.path} [{self.settings.split}], row {{}}", start)


class HuggingFace:
    """One split of one data set."""

    def __init__(self, settings: HuggingFaceSource) -> None:
        self.name = f"{settings.path} [{settings.split}]"
        self._settings = settings
        self._dataset = _load(settings)

    def schema(self) -> pa.Schema:
        schema: pa.Schema = self._dataset.features.arrow_schema
        return schema

    def shards(self) -> list[Shard]:
        rows = len(self._dataset)
        return [
            HuggingFaceShard(self._settings, start, min(start + SHARD_ROWS, rows))
            for start in range(0, rows, SHARD_ROWS)
        ]


def _load(settings: HuggingFaceSource) -> Any:
    import datasets

    path, split = settings.path, settings.split
    subset = settings.subset or SUBSETS.get(path)
    if (Path(path) / "dataset_dict.json").is_file():
        splits = datasets.load_from_disk(path)
        if split not in splits:
            raise SourceError(f"{path} has no split {split!r}; it has {', '.join(splits)}")
        return splits[split]
    if (Path(path) / "state.json").is_file():
        return datasets.load_from_disk(path)
    try:
        return datasets.load_dataset(path, subset, split=split, revision=settings.revision)
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        raise SourceError(
            f"data set {path!r} (subset {settings.subset}, split {split}) cannot be loaded: {error}"
        ) from error
