"""Array types that many modules share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
"""Row numbers of a task pool."""
Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


def read_only(column: Float64) -> Float64:
    """A view of the column that can't be written to."""
    view = column.view()
    view.flags.writeable = False
    return view
