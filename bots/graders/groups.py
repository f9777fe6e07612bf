"""Samples that could not be graded: grade them again, then leave out their whole groups.

A group with a hole would bias its advantages (the mean and the deviation are the group's own), so a group
is used whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from bots.graders.worker import Item
from bots.graders.workers import Result


def grade_with_retries(
    grade: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], *, retries: int = 1
) -> list[Result]:
    """`grade(items)`, and up to `retries` times again for those that came back without a reward."""
    results = grade(items)
    for _ in range(retries):
        holes = [index for index, result in enumerate(results) if result.reward is None]
        if not holes:
            break
        for index, result in zip(holes, grade([items[index] for index in holes]), strict=True):
            results[index] = result
    return results


def rewards_by_group(
    results: Sequence[Result], group_size: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Rewards of shape (groups, group_size), NaN where ungraded, and which groups are complete, shape
    (groups,).

    Raises:
        ValueError: the results are no whole number of groups.
    """
    if group_size < 1 or len(results) % group_size:
        raise ValueError(f"{len(results)} results are no whole number of groups of {group_size}")
    flat = [np.nan if result.reward is None else result.reward for result in results]
    rewards = np.asarray(flat, dtype=np.float64).reshape(-1, group_size)
    complete: npt.NDArray[np.bool_] = np.logical_not(np.isnan(rewards).any(axis=1))
    return rewards, complete
