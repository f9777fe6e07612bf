"""Tasks from the embedded lab."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from bots.config.pool import LabSource
from bots.lab.pool import SCHEMA, lab_table
from bots.sources.base import Piece, Shard, SourceError

SHIPPED = "shipped"


@dataclass(frozen=True)
class LabShard:
    """The whole draw: a lab pool is drawn in one go."""

    settings: LabSource

    def read(self, columns: list[str]) -> Iterator[Piece]:
        settings = self.settings
        try:
            table = lab_table(
                settings.size,
                settings.seed,
                domains=settings.domains,
                split=settings.split,
                levels=settings.levels,
                anchors=settings.anchors == SHIPPED,
            )
        except (ValueError, FileNotFoundError) as error:
            raise SourceError(f"the lab's tasks cannot be made: {error}") from error
        yield Piece(table.select(columns), "lab task {}", 0)


class Lab:
    """The lab's generated tasks as a source."""

    def __init__(self, settings: LabSource) -> None:
        self.name = "lab"
        self._settings = settings

    def schema(self) -> pa.Schema:
        if self._settings.anchors != SHIPPED:
            return SCHEMA
        return SCHEMA.append(pa.field("weak", pa.float64())).append(pa.field("strong", pa.float64()))

    def shards(self) -> list[Shard]:
        return [LabShard(self._settings)]
