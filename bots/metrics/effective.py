"""The effective task ratio: the share of a batch that has a learning signal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def effective_task_ratio(rewards: npt.ArrayLike | Sequence[npt.ArrayLike]) -> float:
    """ETR: the share of a batch's tasks whose group of rewards is not constant.

    For binary rewards that is 0 < observed pass rate < 1; for rewards in [0, 1] in general it is a non-zero
    variance within the group. Only such groups have a non-zero group-relative advantage.

    rewards: (B, n) in [0, 1], or a sequence of B one-dimensional groups where n differs between tasks.
    Raises ValueError for no tasks, an empty group, and NaN or rewards outside [0, 1].
    """
    groups = [np.atleast_1d(np.asarray(group, np.float64)) for group in _rows(rewards)]
    if not groups:
        raise ValueError("no rewards: the effective task ratio of an empty batch is undefined")
    for row, group in enumerate(groups):
        if group.ndim != 1 or group.size == 0:
            raise ValueError(f"group {row} has shape {group.shape}; it must be a non-empty list of rewards")
        outside = ~((group >= 0) & (group <= 1))
        if outside.any():
            raise ValueError(f"group {row} has the reward {group[outside][0]}; it must be in [0, 1]")
    return float(np.mean([group.min() < group.max() for group in groups]))


def _rows(rewards: npt.ArrayLike | Sequence[npt.ArrayLike]) -> Sequence[npt.ArrayLike]:
    if isinstance(rewards, np.ndarray):
        if rewards.ndim != 2:
            raise ValueError(f"rewards have shape {rewards.shape}; they must be (tasks, rollouts)")
        return list(rewards)
    return list(rewards)  # type: ignore[arg-type]
