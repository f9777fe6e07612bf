"""Tasks from real sources: parquet, JSON lines, Hugging Face, reasoning-gym, the lab → one pool.

    pool = read_pool(PoolConfig.model_validate({"sources": [{"kind": "parquet", "path": "math.parquet"}]}))

`pipelines.shared.pool.build_pool` does the same in parallel, streaming through Ray Data.
"""

from __future__ import annotations

from bots.config.pool import PoolConfig, SourceConfig, SourceSettings
from bots.pool import TaskPool
from bots.sources.base import MESSAGES, NORMAL, Piece, Shard, Source, SourceError
from bots.sources.open import open_source, read_pool

__all__ = [
    "MESSAGES",
    "NORMAL",
    "Piece",
    "PoolConfig",
    "Shard",
    "Source",
    "SourceConfig",
    "SourceError",
    "SourceSettings",
    "TaskPool",
    "open_source",
    "read_pool",
]
