"""Beliefs counted in equal bins of the posterior mean: small enough to log during a run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.support.arrays import Float64

BINS = 20
"""Bins of width 1/BINS over [0, 1]; the last one holds 1."""
AGES = (1, 2, 4, 8, 16, 32, 64)
"""Most steps since a task's last observation, by bin; a last bin has the older ones, and bin 0 tasks never observed."""


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


def age_bins(
    last: npt.NDArray[np.int32], wave: int, predicted: Float64, observed: Float64
) -> dict[str, list[float]]:
    """Predicted and observed pass rates of a batch, by the age of what was known of its tasks. O(B), for every step.

    last: (B,), the step at which each task was last observed, -1 if it never was. wave: the batch's own.
    predicted, observed: as in `batch_bins`.
    Returns `beliefs/age_tasks`, the number of tasks in each bin of `AGES`, and `beliefs/age_predicted`,
    `beliefs/age_observed` and `beliefs/age_error`, the sums of both and of the squared differences.
    """
    place = np.where(last < 0, 0, 1 + np.searchsorted(AGES, wave - last))
    sums = {"predicted": predicted, "observed": observed, "error": (predicted - observed) ** 2}
    size = len(AGES) + 2
    return {"beliefs/age_tasks": np.bincount(place, minlength=size).tolist()} | {
        f"beliefs/age_{name}": [round(s, 4) for s in np.bincount(place, value, size).tolist()]
        for name, value in sums.items()
    }
