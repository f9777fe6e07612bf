"""The update of one block of rows, fused by Numba; imported at a posterior's first update."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.support.arrays import Float32, Float64
from bots.support.compile import compiled


@compiled
def update_block(
    alpha: Float64,
    beta: Float64,
    implicit: Float32,
    keep: float,
    gain: float,
    prior_kind: int,
    table_alpha: Float64,
    table_beta: Float64,
    codes: npt.NDArray[np.int16],
    task_alpha: Float32,
    task_beta: Float32,
) -> None:
    """α ← keep·α + (1-keep)·α0 + gain·p̃ and β ← keep·β + (1-keep)·β0 + gain·(1-p̃), in place.

    alpha, beta: float64 (rows of the block). implicit: float32, p̃ with NaN for none, or empty for none at all.
    codes, task_alpha, task_beta: the block's part of the prior's columns, as `prior_kind` needs them.
    """
    pull = 1.0 - keep
    size = len(alpha)
    if prior_kind == 0:
        pull_alpha, pull_beta = pull * table_alpha[0], pull * table_beta[0]
        if len(implicit) == size:
            for k in range(size):
                p = np.float64(implicit[k])
                known = p == p
                successes = gain * p if known else 0.0
                failures = gain * (1.0 - p) if known else 0.0
                alpha[k] = (keep * alpha[k] + pull_alpha) + successes
                beta[k] = (keep * beta[k] + pull_beta) + failures
            return
        for k in range(size):
            alpha[k] = keep * alpha[k] + pull_alpha
            beta[k] = keep * beta[k] + pull_beta
        return
    if prior_kind == 1:
        for k in range(size):
            alpha[k] = keep * alpha[k] + pull * table_alpha[codes[k]]
            beta[k] = keep * beta[k] + pull * table_beta[codes[k]]
    else:
        for k in range(size):
            alpha[k] = keep * alpha[k] + pull * np.float64(task_alpha[k])
            beta[k] = keep * beta[k] + pull * np.float64(task_beta[k])
    if len(implicit) == size:
        for k in range(size):
            p = np.float64(implicit[k])
            known = p == p
            alpha[k] += gain * p if known else 0.0
            beta[k] += gain * (1.0 - p) if known else 0.0
