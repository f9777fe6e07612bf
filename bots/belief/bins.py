"""Beliefs counted in equal bins of the posterior mean: small enough to log during a run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.support.arrays import Float64

BINS = 20
"""Bins of width 1/BINS over [0, 1]; the last one holds 1."""


def bins(means: Float64) -> npt.NDArray[np.int64]:
    """The bin of each mean in [0, 1]: int64, same shape."""
    return np.minimum((means * BINS).astype(np.int64), BINS - 1)


def pool_bins(alpha: Float64, beta: Float64) -> dict[str, list[int]]:
    """`beliefs/pool`: number of tasks with their posterior mean in each bin. O(K), for evaluation steps."""
    return {"beliefs/pool": np.bincount(bins(alpha / (alpha + beta)), minlength=BINS).tolist()}


def batch_bins(predicted: Float64, observed: Float64) -> dict[str, list[int] | list[float]]:
    """Predicted and observed pass rates of a batch, by bin of the prediction. O(B), for every step.

    predicted: (B,), posterior means before the batch was observed. observed: (B,), pass rates.
    Returns `beliefs/selected`, the number of tasks in each bin, and `beliefs/predicted` and `beliefs/observed`,
    the sums of both over the bin's tasks; a calibration diagram adds them up over steps and divides.
    """
    place = bins(predicted)
    return {
        "beliefs/selected": np.bincount(place, minlength=BINS).tolist(),
        "beliefs/predicted": [round(s, 4) for s in np.bincount(place, predicted, BINS).tolist()],
        "beliefs/observed": [round(s, 4) for s in np.bincount(place, observed, BINS).tolist()],
    }
