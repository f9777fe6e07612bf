"""A small pool for the conformance suites: every kind of column and anchor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from bots.pool.task_pool import TaskPool


def example_pool(size: int = 300, seed: int = 0) -> TaskPool:
    """A pool with every kind of column and anchor; the first rows of a larger one are the same."""
    tasks: dict[str, list[Any]] = {name: [] for name in ("domain", "level", "weak", "strong", "embedding")}
    for row in range(size):
        rng = np.random.default_rng((seed, row))
        weak, strong = np.sort(rng.random(2))
        if row % 7 == 3:
            weak = strong
        if row % 11 == 5:
            weak, strong = strong, weak
        tasks["domain"].append(("math", "code", "logic")[row % 3])
        tasks["level"].append(int(4 * weak))
        tasks["weak"].append(None if row % 13 == 2 else float(weak))
        tasks["strong"].append(None if row % 17 == 4 else float(strong))
        tasks["embedding"].append(None if row % 19 == 6 else rng.normal(weak, 1, 8).tolist())
    columns: dict[str, Any] = {**tasks, "embedding": pa.array(tasks["embedding"], pa.list_(pa.float32(), 8))}
    return TaskPool.from_arrow(pa.table(columns), weak="weak", strong="strong")
