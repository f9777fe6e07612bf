"""The B rows of least score, found in one pass with memory for B rows only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bots.support.arrays import Float64, Rows
from bots.support.compile import compiled


@compiled
def push(scores: Float64, rows: Rows, size: int, score: float, row: int) -> int:
    """Keep the len(scores) least scores in a max-heap that now holds `size`; returns its new size."""
    capacity = len(scores)
    if size < capacity:
        at = size
        while at > 0:
            parent = (at - 1) >> 1
            if scores[parent] >= score:
                break
            scores[at], rows[at] = scores[parent], rows[parent]
            at = parent
        scores[at], rows[at] = score, row
        return size + 1
    if score >= scores[0]:
        return size
    at = 0
    while True:
        child = 2 * at + 1
        if child >= capacity:
            break
        if child + 1 < capacity and scores[child + 1] > scores[child]:
            child += 1
        if scores[child] <= score:
            break
        scores[at], rows[at] = scores[child], rows[child]
        at = child
    scores[at], rows[at] = score, row
    return size


def least(scan: Callable[..., int], batch: int, *arguments: Any) -> Rows:
    """The `batch` rows of least score by rising score, ties by row.

    scan: a compiled pass that takes `arguments` and then `scores` and `rows`, which it fills (`bots.selection.scans`).
    """
    scores, rows = np.empty(batch), np.empty(batch, np.int64)
    scan(*arguments, scores, rows)
    ordered: Rows = rows[np.lexsort((rows, scores))]
    return ordered
