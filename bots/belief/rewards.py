"""A batch's rewards, checked and merged by task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bots.pool import TaskPool, check_rows
from bots.support.arrays import Float64
from bots.support.observation import Observation


def merge_rewards(
    pool: TaskPool, rows: npt.ArrayLike, rewards: Sequence[npt.ArrayLike] | Float64, wave: int = 0
) -> Observation:
    """Check the rewards of a batch and merge the groups of a task that occurs more than once.

    rows: (B,) row numbers. rewards: (B, n) in [0, 1], or B one-dimensional groups of different sizes.
    wave: number of the selection they belong to.
    Raises ValueError that names the row and the id: unknown rows, wrong shapes, empty groups, rewards that
    are not finite or outside [0, 1].
    """
    checked = check_rows(pool, rows)
    if checked.size == 0:
        raise ValueError("rows is empty; an observation needs at least one task")
    if not hasattr(rewards, "__len__"):
        raise ValueError(
            f"rewards is a {type(rewards).__name__}; it must have one group for each of {len(checked)} rows"
        )
    if len(rewards) != len(checked):
        raise ValueError(f"rewards has {len(rewards)} groups for {len(checked)} rows")
    if (
        isinstance(rewards, np.ndarray)
        and rewards.ndim == 2
        and rewards.dtype.kind in "fiub"
        and rewards.size
        and not np.ma.is_masked(rewards)
    ):
        owner = np.repeat(checked, rewards.shape[1])
        values = rewards.astype(np.float64).ravel()
    else:
        groups = [_group(pool, row, group) for row, group in zip(checked.tolist(), rewards, strict=True)]
        owner = np.repeat(checked, [len(group) for group in groups])
        values = np.concatenate(groups)
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        at = int(np.argmax(bad))
        row = int(owner[at])
        raise ValueError(
            f"reward is {values[at]} in row {row} (id {pool.ids([row])[0]}); it must be in [0, 1]"
        )
    distinct, index = np.unique(owner, return_inverse=True)
    rollouts = np.bincount(index).astype(np.float64)
    successes = np.bincount(index, weights=values)
    deviation = values - (successes / rollouts)[index]
    variance = np.bincount(index, weights=deviation * deviation) / rollouts
    # Equal rewards such as 0.1 deviate from their mean by rounding.
    least, most = np.ones(len(distinct)), np.zeros(len(distinct))
    np.minimum.at(least, index, values)
    np.maximum.at(most, index, values)
    variance[least == most] = 0
    # Rounding may lift a sum of n rewards above n; counts of failures must not be negative.
    return Observation(wave, distinct, np.minimum(successes, rollouts), rollouts, variance)


def _group(pool: TaskPool, row: int, group: npt.ArrayLike) -> Float64:
    try:
        given = np.asarray(group)
        is_text = given.dtype == object and any(isinstance(each, str | bytes) for each in given.flat)
        if given.dtype.kind not in "fiubO" or is_text:
            raise TypeError(f"they are of type {given.dtype}")
        if np.ma.is_masked(group):
            raise TypeError("some are masked; give the row those that it has")
        values = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"rewards of row {row} (id {pool.ids([row])[0]}) are not numbers: {error}"
        ) from error
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"rewards of row {row} (id {pool.ids([row])[0]}) have shape {values.shape}; "
            "a group is one-dimensional with at least one reward"
        )
    return values
