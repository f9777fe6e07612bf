"""Compiled passes over tasks: their order by stratum, their residuals, draws of all of them."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import numpy.typing as npt

from bots.support.arrays import Float32, Float64, Rows
from bots.support.compile import compiled
from bots.support.random_numbers import normals, stream

Int32 = npt.NDArray[np.int32]


@compiled
def sort_by_stratum(
    stratum: Int32, starts: Rows, seen: npt.NDArray[np.bool_], order: Int32, asked: Rows
) -> None:
    """Fill `order`, int32 (K,): rows by stratum, those in `seen` first, else rising; and `asked`, how many are seen."""
    asked[:] = 0
    for k in range(len(stratum)):
        if seen[k]:
            s = stratum[k]
            order[starts[s] + asked[s]] = k
            asked[s] += 1
    next_place = starts[:-1] + asked
    for k in range(len(stratum)):
        if not seen[k]:
            s = stratum[k]
            order[next_place[s]] = k
            next_place[s] += 1


@compiled
def mark_asked(rows: Rows, stratum: Int32, starts: Rows, order: Int32, place: Int32, asked: Rows) -> None:
    """Move rows that were never observed before to the observed part of their stratum."""
    for k in rows:
        s = stratum[k]
        free = starts[s] + asked[s]
        if place[k] < free:
            continue
        other = order[free]
        order[free], order[place[k]] = k, other
        place[other], place[k] = place[k], free
        asked[s] += 1


@compiled
def latest(starts: Rows, asked: Rows, order: Int32, last_step: Int32, cell: Rows, out: Rows) -> None:
    """Raise `out`, int64 (C,), to the latest step at which a task of each cell was observed."""
    for s in range(len(asked)):
        for i in range(starts[s], starts[s] + asked[s]):
            out[cell[s]] = max(out[cell[s]], last_step[order[i]])


@compiled
def add_traits(logit: Float64, traits: Float64, coefficients: Float64, domain: Rows) -> None:
    """Add traits(s)·coefficients(domain(s)) to each stratum's logit; the last row is for domains without their own."""
    last = len(coefficients) - 1
    for s in range(len(logit)):
        own = min(domain[s], last)
        for f in range(traits.shape[1]):
            logit[s] += traits[s, f] * coefficients[own, f]


@compiled
def residuals(
    rows: Rows,
    own: Float32,
    own_variance: Float32,
    trained: Float32,
    last_step: Int32,
    clock: int,
    keep: float,
    fade: float,
    residual: float,
) -> tuple[Float64, Float64, Float64]:
    """Residuals' means, variances, and what the tasks' own training has left of its signal: float64 (R,) each."""
    mean, variance, signal = np.empty(len(rows)), np.empty(len(rows)), np.empty(len(rows))
    for i in range(len(rows)):
        k = rows[i]
        age = max(clock - last_step[k], 0) if last_step[k] >= 0 else 0
        share = keep**age
        mean[i] = share * own[k]
        variance[i] = max(share * share * own_variance[k] + (1.0 - share * share) * residual, 1e-6)
        signal[i] = trained[k] * fade**age
    return mean, variance, signal


@compiled
def draw_tasks(
    stratum: Int32,
    logit: Float64,
    mean: Float64,
    variance: Float64,
    first: int,
    seed: np.uint64,
    out: Float64,
) -> None:
    """θ of rows first … first+len(mean)-1, given one draw of what is shared, with their own residuals drawn too."""
    state = stream(seed, first)
    for i in range(len(mean)):
        x, _ = normals(state)
        value = logit[stratum[first + i]] + mean[i] + sqrt(variance[i]) * x
        out[first + i] = 1.0 / (1.0 + exp(-min(max(value, -700.0), 700.0)))
