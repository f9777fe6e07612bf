"""Row numbers of a pool, checked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.pool.task_pool import TaskPool
from bots.support.arrays import Rows


def check_rows(pool: TaskPool, rows: npt.ArrayLike, name: str = "rows") -> Rows:
    """The rows as int64 (B,); ValueError unless they are whole numbers in [0, len(pool))."""
    array = np.asarray(rows)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; it must be one-dimensional")
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {array.dtype}; row numbers are integers")
    outside = (array < 0) | (array >= len(pool))
    if outside.any():
        at = int(np.argmax(outside))
        raise ValueError(f"{name}[{at}] is {array[at]}; the pool has rows 0 to {len(pool) - 1}")
    return array.astype(np.int64)
