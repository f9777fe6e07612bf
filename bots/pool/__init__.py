"""The task pool: the tasks as Arrow columns, and row numbers of them."""

from bots.pool.rows import check_rows
from bots.pool.task_pool import (
    CONTENT,
    EMBEDDING,
    IDENTITY,
    PoolError,
    TaskPool,
    is_embedding,
    is_text,
    plain_type,
)

__all__ = [
    "CONTENT",
    "EMBEDDING",
    "IDENTITY",
    "PoolError",
    "TaskPool",
    "check_rows",
    "is_embedding",
    "is_text",
    "plain_type",
]
