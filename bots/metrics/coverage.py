"""Coverage by difficulty: which share of the easy and of the hard tasks a run has observed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bots.pool import TaskPool, plain_type

GROUPS = 8
"""Largest number of groups; more levels are joined to groups of about equally many tasks."""
RATES = 4
"""Number of groups by reference pass rate, of equal width."""


def coverage(pool: TaskPool, observations: npt.NDArray[np.integer]) -> dict[str, float]:
    """`coverage`: the share of the tasks that were observed at least once; and the same by difficulty.

    Difficulty is the level (`coverage/level 2`, `coverage/level 3 to 5`; of more than 8 levels that are words none is
    given). Where there are no such groups, it is the mean of the two reference pass rates (`coverage/pass rate 0.25 to
    0.50`). Tasks without either count in `coverage` alone.

    observations: int (K,), how often each task was observed.
    """
    seen = observations > 0
    groups = _by_level(pool) or _by_rate(pool)
    of_groups = {f"coverage/{name}": float(seen[of].mean()) for name, of in groups.items() if of.any()}
    return {"coverage": float(seen.mean())} | of_groups


def _by_level(pool: TaskPool) -> dict[str, npt.NDArray[np.bool_]]:
    if not pool.has_levels:
        return {}
    column = pool.table["level"]
    if not pa.types.is_integer(plain_type(column)):
        words = column.to_numpy(zero_copy_only=False)
        distinct = pc.unique(column.drop_null()).to_pylist()
        return {f"level {word}": words == word for word in distinct} if len(distinct) <= GROUPS else {}
    levels = pc.cast(column, "double").to_numpy(zero_copy_only=False)  # NaN where unknown
    known = levels[np.isfinite(levels)]
    distinct = np.unique(known)
    if len(distinct) > GROUPS:
        # Where a group begins; a level of very many tasks fills several, and begins only one.
        distinct = np.unique(np.quantile(known, np.arange(GROUPS) / GROUPS, method="nearest"))
    out = {}
    for low, above in zip(distinct, [*distinct[1:], np.inf], strict=True):
        of = (levels >= low) & (levels < above)
        high = levels[of].max()
        out[f"level {low:g}" if low == high else f"level {low:g} to {high:g}"] = of
    return out


def _by_rate(pool: TaskPool) -> dict[str, npt.NDArray[np.bool_]]:
    if not pool.has_anchors:
        return {}
    mean = (pool.weak + pool.strong) / 2
    edges = np.linspace(0, 1, RATES + 1)
    return {
        f"pass rate {low:.2f} to {high:.2f}": (mean >= low) & ((mean < high) | (high == 1))
        for low, high in pairwise(edges)
    }
