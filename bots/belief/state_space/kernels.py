"""Compiled passes over tasks: their order by stratum, scores of the observed ones, draws of the others."""

from __future__ import annotations

from math import exp, pi, sqrt

import numpy as np
import numpy.typing as npt

from bots.belief.state_space.logits import sigmoid
from bots.support.arrays import Float32, Float64, Rows
from bots.support.compile import compiled
from bots.support.random_numbers import normals, stream, uniform

Int32 = npt.NDArray[np.int32]
PICKED = 2
"""Bit in `blocked` of a row that a selection has already taken."""


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
def loss(logit: float, variance: float, p_star: float, by_mean: bool) -> float:
    """|E θ - p*| where `by_mean`, else E (θ - p*)², for θ = σ(N(logit, variance)).

    By the probit approximation (MacKay 1992): E θ ≈ σ(κ·logit), κ = 1/√(1 + π·variance/8), and E θ(1-θ), its
    derivative by the logit, ≈ κ·E θ·(1 - E θ).
    """
    kappa = 1.0 / sqrt(1.0 + pi * variance / 8.0)
    q = sigmoid(kappa * logit)
    if by_mean:
        return abs(q - p_star)
    return q - kappa * q * (1.0 - q) - 2.0 * p_star * q + p_star * p_star


@compiled
def score_asked(
    order: Int32,
    starts: Rows,
    asked: Rows,
    allowed: npt.NDArray[np.bool_],
    blocked: npt.NDArray[np.uint8],
    logit: Float64,
    extra: Float64,
    worth: Float64,
    own: Float32,
    own_variance: Float32,
    trained: Float32,
    last_step: Int32,
    clock: int,
    keep: float,
    fade: float,
    residual: float,
    coefficient: float,
    p_star: float,
    by_mean: bool,
    scores: Float64,
    rows: Rows,
) -> int:
    """Loss of every observed task that may be selected, under one draw of what is shared; returns how many.

    logit, extra, worth: float64 (S,), by stratum: the drawn logit without residual, further variance, value of signal.
    """
    count = 0
    ceiling = max(p_star, 1.0 - p_star) ** 2
    for s in range(len(asked)):
        if asked[s] == 0 or not allowed[s]:
            continue
        for i in range(starts[s], starts[s] + asked[s]):
            k = order[i]
            if blocked[k]:
                continue
            age = max(clock - last_step[k], 0)
            share = keep**age
            variance = share * share * own_variance[k] + (1.0 - share * share) * residual + extra[s]
            mean = logit[s] + share * own[k] + coefficient * trained[k] * fade**age
            scores[count] = loss(mean, variance, p_star, by_mean)
            if not by_mean:
                scores[count] = worth[s] * (scores[count] - ceiling)
            rows[count] = k
            count += 1
    return count


@compiled
def score_strata(
    strata: Rows,
    free: Rows,
    logit: Float64,
    extra: Float64,
    worth: Float64,
    residual: float,
    p_star: float,
    by_mean: bool,
    scores: Float64,
    found: Rows,
) -> int:
    """The same for one task of each stratum with free tasks, in the given order; returns how many strata."""
    count = 0
    ceiling = max(p_star, 1.0 - p_star) ** 2
    for s in strata:
        if free[s] <= 0:
            continue
        scores[count] = loss(logit[s], extra[s] + residual, p_star, by_mean)
        if not by_mean:
            scores[count] = worth[s] * (scores[count] - ceiling)
        found[count] = s
        count += 1
    return count


@compiled
def add_traits(logit: Float64, traits: Float64, coefficients: Float64, domain: Rows) -> None:
    """Add traits(s)·coefficients(domain(s)) to each stratum's logit; the last row is for domains without their own."""
    last = len(coefficients) - 1
    for s in range(len(logit)):
        own = min(domain[s], last)
        for f in range(traits.shape[1]):
            logit[s] += traits[s, f] * coefficients[own, f]


@compiled
def take_unasked(
    order: Int32,
    first: int,
    stop: int,
    blocked: npt.NDArray[np.uint8],
    number: int,
    seed: np.uint64,
    out: Rows,
) -> int:
    """Write up to `number` free rows of order[first:stop], drawn without replacement, into `out`; mark them picked."""
    state = stream(seed, 0)
    size, found, tries = stop - first, 0, 0
    while found < number and tries < 8 * number + 32:
        tries += 1
        k = order[first + int(uniform(state) * size)]
        if blocked[k] == 0:
            blocked[k] = PICKED
            out[found] = k
            found += 1
    if found == number:
        return found
    # Most of them are blocked: go through the rest in a random rotation.
    begin = int(uniform(state) * size)
    for i in range(size):
        if found == number:
            break
        k = order[first + (begin + i) % size]
        if blocked[k] == 0:
            blocked[k] = PICKED
            out[found] = k
            found += 1
    return found


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
