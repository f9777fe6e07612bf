"""Compiled passes over all rows: the nearest Beta draws, the nearest means, the greatest variance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.selection.nearest import push
from bots.support.arrays import Float64, Rows
from bots.support.compile import compiled
from bots.support.random_numbers import beta_draw, mix, stream


@compiled
def nearest_means(
    alpha: Float64,
    beta: Float64,
    blocked: npt.NDArray[np.uint8],
    codes: npt.NDArray[np.int16],
    domain: int,
    p_star: float,
    seed: np.uint64,
    scores: Float64,
    rows: Rows,
) -> int:
    """Fill `rows` with the rows of least |α/(α+β) - p*|; means closer than 1e-12 are ties, broken at random."""
    size = 0
    for k in range(len(alpha)):
        score = abs(alpha[k] / (alpha[k] + beta[k]) - p_star)
        if size == len(scores) and score >= scores[0]:
            continue
        if blocked[k] or (domain >= 0 and codes[k] != domain):
            continue
        score += 1e-12 * np.float64(mix(seed ^ np.uint64(k))) / 2.0**64
        size = push(scores, rows, size, score, k)
    return size


@compiled
def greatest_variance(
    alpha: Float64,
    beta: Float64,
    dispersion: npt.NDArray[np.float32],
    unknown: float,
    blocked: npt.NDArray[np.uint8],
    codes: npt.NDArray[np.int16],
    domain: int,
    seed: np.uint64,
    scores: Float64,
    rows: Rows,
) -> int:
    """Fill `rows` with those of greatest φ·θ(1-θ), θ ~ Beta(α, β), φ the dispersion (`unknown` where NaN)."""
    state = stream(seed, 0)
    size = 0
    for k in range(len(alpha)):
        if blocked[k] or (domain >= 0 and codes[k] != domain):
            continue
        measured = np.float64(dispersion[k])
        phi = measured if measured == measured else unknown
        if size == len(scores) and -0.25 * phi >= scores[0]:
            continue
        theta = beta_draw(state, alpha[k], beta[k])
        size = push(scores, rows, size, -phi * theta * (1.0 - theta), k)
    return size


@compiled
def greatest_gain(
    alpha: Float64,
    beta: Float64,
    blocked: npt.NDArray[np.uint8],
    codes: npt.NDArray[np.int16],
    domain: int,
    seed: np.uint64,
    scores: Float64,
    rows: Rows,
) -> int:
    """Fill `rows` with those of greatest θ(1-θ)², θ ~ Beta(α, β)."""
    state = stream(seed, 0)
    size = 0
    for k in range(len(alpha)):
        if blocked[k] or (domain >= 0 and codes[k] != domain):
            continue
        theta = beta_draw(state, alpha[k], beta[k])
        size = push(scores, rows, size, -theta * (1.0 - theta) * (1.0 - theta), k)
    return size
