"""Array types that many modules share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
"""Row numbers of a task pool."""
Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
