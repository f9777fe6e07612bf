"""From a source's settings to the source, and from sources to a pool in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from bots.config.pool import (
    CsvSource,
    HuggingFaceSource,
    JsonLinesSource,
    LabSource,
    ParquetSource,
    PoolConfig,
    ReasoningGymSource,
    SourceConfig,
)
from bots.pool import TaskPool
from bots.sources.base import Shard, Source, SourceError
from bots.sources.collect import Collector
from bots.sources.mapping import Mapping, map_columns
from bots.sources.normal import normalise


def open_source(settings: SourceConfig) -> Source:
    """The source that the settings describe. Raises SourceError where it is missing."""
    # Each kind is imported only where it is used: `datasets` and `reasoning_gym` take seconds.
    match settings:
        case LabSource():
            from bots.sources.lab import Lab

            return Lab(settings)
        case ParquetSource():
            from bots.sources.parquet import Parquet

            return Parquet(settings)
        case JsonLinesSource():
            from bots.sources.jsonl import JsonLines

            return JsonLines(settings)
        case CsvSource():
            from bots.sources.csv import Csv

            return Csv(settings)
        case HuggingFaceSource():
            from bots.sources.huggingface import HuggingFace

            return HuggingFace(settings)
        case ReasoningGymSource():
            from bots.sources.reasoning_gym import ReasoningGym

            return ReasoningGym(settings)


@dataclass(frozen=True)
class ReadPart:
    """One shard with what is needed to bring it to the normal schema; can be sent to another process.

    source: the source's number in the configuration.
    """

    source: int
    shard: Shard
    mapping: Mapping
    columns: list[str]

    def read(self) -> Iterator[pa.Table]:
        """Normalised pieces, with the column `problem`."""
        for piece in self.shard.read(self.columns):
            yield normalise(piece, self.mapping)


def plan_parts(config: PoolConfig) -> tuple[list[str], list[ReadPart]]:
    """The sources' names and all parts in order, after every check that needs no row.

    Raises SourceError (missing files, columns, types) and UnknownGraderError.
    """
    names: list[str] = []
    parts: list[ReadPart] = []
    for number, settings in enumerate(config.sources):
        source = open_source(settings)
        schema = source.schema()
        peek = partial(_first_values, source)
        mapping = map_columns(
            schema, settings, source.name, config.domains, peek, trusted_graders=config.trusted_graders
        )
        columns = mapping.wanted(schema)
        names.append(source.name)
        parts += [ReadPart(number, shard, mapping, columns) for shard in source.shards()]
    return names, parts


def _first_values(source: Source, column: str) -> list[Any]:
    """Values of a column in the first piece of a source."""
    for shard in source.shards():
        for piece in shard.read([column]):
            return list(piece.table[column].to_pylist())
    return []


def read_pool(config: PoolConfig) -> TaskPool:
    """Read all sources in this process, without Ray.

    Raises SourceError where `max_prompt_tokens` asks for a tokenizer: `pipelines.shared.pool.build_pool` takes one.
    """
    if config.max_prompt_tokens is not None:
        raise SourceError("max_prompt_tokens needs a tokenizer: use pipelines.shared.pool.build_pool")
    names, parts = plan_parts(config)
    collector = Collector(config, names)
    for part in parts:
        for piece in part.read():
            collector.add(part.source, piece)
    return collector.finish()
