"""Compiled Thompson sampling: the rows whose Beta draws are nearest to p*."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.compile import compiled
from bots.selection.nearest import push
from bots.selection.random_numbers import beta_draw, stream

Rows = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@compiled
def draw_all(
    alpha: Float64,
    beta: Float64,
    blocked: npt.NDArray[np.uint8],
    codes: npt.NDArray[np.int16],
    domain: int,
    p_star: float,
    inner: float,
    found: Rows,
    seed: int,
    number: int,
    start: int,
    stop: int,
    scores: Float64,
    rows: Rows,
    size: int,
) -> int:
    """Draw θ ~ Beta(α, β) for rows start … stop-1 and push |θ-p*| into the heap; returns its size.

    inner ≥ 0: rows in `found` (sorted) are known to lie within it and are left out, all others are known to
    lie outside, and θ is drawn given that (by rejection, which takes one accepted draw a row on average).
    """
    state = stream(seed, number)
    known = np.searchsorted(found, start)
    for k in range(start, stop):
        if blocked[k] or (domain >= 0 and codes[k] != domain):
            continue
        if known < len(found) and found[known] == k:
            known += 1
            continue
        while True:
            distance = abs(beta_draw(state, alpha[k], beta[k]) - p_star)
            if distance > inner:
                break
        size = push(scores, rows, size, distance, k)
    return size
