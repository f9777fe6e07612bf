"""The entries that a draw keeps while it goes through all tasks, in parallel arrays; compiled.

scores: float64, by which they are ordered, the least first. values: float64, a score without the discount for other
tasks of its cell. keys: uint64, random, by which equal scores are ordered. items: int64, an observed task's row, or
-1 - s for the free tasks of stratum s.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.support.arrays import Float64, Rows
from bots.support.compile import compiled

Int32 = npt.NDArray[np.int32]
UInt64 = npt.NDArray[np.uint64]


@compiled
def before(score: float, key: np.uint64, other: float, other_key: np.uint64) -> bool:
    return bool(score < other or (score == other and key < other_key))


@compiled
def swap(scores: Float64, values: Float64, keys: UInt64, items: Rows, i: int, j: int) -> None:
    scores[i], scores[j] = scores[j], scores[i]
    values[i], values[j] = values[j], values[i]
    keys[i], keys[j] = keys[j], keys[i]
    items[i], items[j] = items[j], items[i]


@compiled
def partition(scores: Float64, values: Float64, keys: UInt64, items: Rows, size: int, first: int) -> None:
    """Quickselect by score, then key: move the `first` least entries to the front."""
    low, high = 0, size - 1
    while low < high:
        middle = (low + high) // 2
        score, key = scores[middle], keys[middle]
        i, j = low, high
        while i <= j:
            while before(scores[i], keys[i], score, key):
                i += 1
            while before(score, key, scores[j], keys[j]):
                j -= 1
            if i <= j:
                swap(scores, values, keys, items, i, j)
                i, j = i + 1, j - 1
        if first - 1 <= j:
            high = j
        elif first - 1 >= i:
            low = i
        else:
            break


@compiled
def sink(scores: Float64, values: Float64, keys: UInt64, items: Rows, at: int, size: int) -> None:
    """Let an entry sink to its place in a heap that has the best on top."""
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and before(scores[child + 1], keys[child + 1], scores[child], keys[child]):
            child += 1
        if not before(scores[child], keys[child], scores[at], keys[at]):
            break
        swap(scores, values, keys, items, at, child)
        at = child


@compiled
def heapify(scores: Float64, values: Float64, keys: UInt64, items: Rows, size: int) -> None:
    """Order the first `size` entries as a heap that has the best on top."""
    for at in range(size // 2 - 1, -1, -1):
        sink(scores, values, keys, items, at, size)


@compiled
def cell_of(item: int, stratum: Int32, cell: Rows) -> int:
    """Cell of an entry's tasks."""
    return int(cell[stratum[item] if item >= 0 else -1 - item])


@compiled
def tasks_of(item: int, free: Rows) -> int:
    """How many tasks an entry stands for."""
    return 1 if item >= 0 else int(free[-1 - item])


@compiled
def discount(members: int, crowding: float, own: float) -> float:
    """Share of its value that a task has beside so many of its cell: what is its own, and less of what they share."""
    return own + (1.0 - own) / (1.0 + crowding * members)


@compiled
def rank(
    scores: Float64,
    values: Float64,
    keys: UInt64,
    items: Rows,
    size: int,
    crowding: float,
    own: float,
    free: Rows,
    stratum: Int32,
    cell: Rows,
    better: Rows,
) -> None:
    """Set every entry's score to its value times the `discount` for the tasks of its cell among the better entries.

    better: int64 (C,), work space.
    """
    scores[:size] = values[:size]
    if crowding == 0.0:
        return
    order = np.argsort(values[:size])
    for at in range(1, size):  # equal values by key
        place = at
        while place > 0:
            i, j = order[place - 1], order[place]
            if values[i] < values[j] or keys[i] < keys[j]:
                break
            order[place - 1], order[place] = j, i
            place -= 1
    better[:] = 0
    for i in order:
        c = cell_of(items[i], stratum, cell)
        scores[i] = values[i] * discount(better[c], crowding, own)
        better[c] += tasks_of(items[i], free)


@compiled
def held(value: float, score: float, worst: float, item: int, crowding: float, own: float, free: Rows) -> int:
    """How many tasks of an entry have a score of at most `worst`, which its first task has."""
    tasks = tasks_of(item, free)
    if tasks == 1 or crowding == 0.0:
        return tasks
    if worst >= 0.0:
        return 1
    first, last = score / value - own, worst / value - own
    if last * crowding * tasks <= first * 1e-9:
        return tasks
    return 1 + int(min((1.0 - own) * (1.0 / last - 1.0 / first) / crowding, tasks - 1.0))


@compiled
def cut(
    scores: Float64,
    values: Float64,
    keys: UInt64,
    items: Rows,
    size: int,
    need: int,
    crowding: float,
    own: float,
    free: Rows,
) -> int:
    """Drop the worse half of the entries as long as the others hold `need` tasks; how many are left."""
    while size > 1:
        half = size // 2
        partition(scores, values, keys, items, size, half)
        worst, number = scores[:half].max(), 0
        for i in range(half):
            number += held(values[i], scores[i], worst, items[i], crowding, own, free)
        if number < need:
            break
        size = half
    return size


@compiled
def fill(
    scores: Float64,
    values: Float64,
    items: Rows,
    size: int,
    crowding: float,
    own: float,
    free: Rows,
    stratum: Int32,
    cell: Rows,
    members: Rows,
    least: Float64,
) -> None:
    """Count, by cell, the tasks in these entries, and set `least` to the worst of their values."""
    worst = scores[:size].max()
    for i in range(size):
        c = cell_of(items[i], stratum, cell)
        members[c] += held(values[i], scores[i], worst, items[i], crowding, own, free)
        least[c] = max(least[c], values[i])
