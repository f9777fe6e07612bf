"""Array types that many modules share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
"""Row numbers of a task pool."""
Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


def distinct(*rows: Rows) -> Rows:
    """The distinct values of all these int64 arrays, sorted.

    By sorting: NumPy 2.3's `unique` puts integers into a hash table, which takes ten times as long for some thousands.
    """
    values = np.sort(np.concatenate(rows))
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def read_only(column: Float64) -> Float64:
    """A view of the column that can't be written to."""
    view = column.view()
    view.flags.writeable = False
    return view


def as_batch(groups: Sequence[npt.ArrayLike]) -> Float64 | list[Float64]:
    """Groups of rewards as one array (B, n), or as a list of arrays where their sizes differ."""
    arrays = [np.asarray(group, np.float64) for group in groups]
    return np.stack(arrays) if len({len(array) for array in arrays}) == 1 else arrays
