"""Compiled Thompson sampling: the rows whose Beta draws are nearest to p*."""

from __future__ import annotations

from math import exp, lgamma, log, log1p, pi, sqrt

import numpy as np
import numpy.typing as npt

from bots.selection.nearest import push
from bots.support.arrays import Float64, Rows
from bots.support.compile import compiled
from bots.support.random_numbers import beta_draw, stream, uniform

SKIPPED = 0.1
"""Rows are skipped where less than this share can be candidates, and examined one by one elsewhere."""
LOG_HALF, LOG_2PI = log(0.5), log(2.0 * pi)
LEAST = -38.0
"""Below the logarithm of every uniform number, the least of which is 2^-53: such an event never occurs."""


@compiled
def log_density(a: float, b: float, x: float) -> float:
    """log of Beta(a, b)'s density at 0 < x < 1."""
    return lgamma(a + b) - lgamma(a) - lgamma(b) + (a - 1.0) * log(x) + (b - 1.0) * log1p(-x)


@compiled
def density_bound(mass: float, low: float, high: float) -> float:
    """An upper bound of every Beta(a, b) density with a+b ≤ mass on [low, high] inside (0, 1).

    With m = a/M, M = a+b and v = x(1-x), Binet's form of Stirling's formula, whose remainder is positive and
    falling, gives f(x) ≤ √(M·m(1-m)/2π)/v · exp(-M·KL(m‖x)). ½·log m(1-m) lies below its tangent at x, of slope
    s = (1-2x)/2v, and KL(m‖x) ≥ 2(m-x)² (Pinsker), so that f(x) ≤ √(M/2πv)·exp(s²/8M) for every m.
    sup_m f rises with M: by the envelope theorem its logarithm has the slope c = log x - E log θ
    = log(1-x) - E log(1-θ) at the best m; c < 0 would mean x < m and x > m (Jensen). So the greatest M counts,
    and of the interval the end farther from ½, where v is least and |s| greatest.
    """
    x = low if abs(low - 0.5) > abs(high - 0.5) else high
    v = x * (1.0 - x)
    slope = (1.0 - 2.0 * x) / (2.0 * v)
    return sqrt(mass / (2.0 * pi * v)) * exp(slope * slope / (8.0 * mass))


@compiled
def sample_density(
    alpha: Float64,
    beta: Float64,
    blocked: npt.NDArray[np.uint8],
    codes: npt.NDArray[np.int16],
    domain: int,
    p_star: float,
    seed: np.uint64,
    count: int,
) -> tuple[float, float]:
    """Mean density at p* over `count` random rows (0 for rows that may not be selected), and its standard error."""
    state = stream(seed, -1)
    total, squares = 0.0, 0.0
    for _ in range(count):
        k = int(uniform(state) * len(alpha))
        if not blocked[k] and (domain < 0 or codes[k] == domain):
            density = exp(log_density(alpha[k], beta[k], p_star))
            total += density
            squares += density * density
    mean = total / count
    return mean, sqrt(max(0.0, squares / count - mean * mean) / count)


@compiled
def sample_distances(
    alpha: Float64,
    beta: Float64,
    blocked: npt.NDArray[np.uint8],
    codes: npt.NDArray[np.int16],
    domain: int,
    p_star: float,
    seed: np.uint64,
    count: int,
) -> Float64:
    """|θ - p*| of draws for `count` random rows, rising; inf for rows that may not be selected."""
    state = stream(seed, -2)
    distances = np.full(count, np.inf)
    for i in range(count):
        k = int(uniform(state) * len(alpha))
        if not blocked[k] and (domain < 0 or codes[k] == domain):
            distances[i] = abs(beta_draw(state, alpha[k], beta[k]) - p_star)
    return np.sort(distances)


@compiled
def scales(p_star: float, reach: float, mass: float) -> tuple[float, float]:
    """The logarithms of 2·reach over the window's least v = x(1-x), and of that times √(M·¼/2π) for the mass M."""
    low, high = p_star - reach, p_star + reach
    log_scale = log(2.0 * reach) - log(min(low * (1.0 - low), high * (1.0 - high)))
    return log_scale, log_scale + 0.5 * log(mass / (8.0 * pi))


@compiled
def draw_within(
    state: npt.NDArray[np.uint64],
    a: float,
    b: float,
    p_star: float,
    reach: float,
    log_most: float,
    log_scale: float,
) -> float:
    """θ ~ Beta(a, b) if it lies within `reach` of p*, else -1: exact, and mostly without a draw.

    By √(M·m(1-m)/2π)/v · exp(-M·KL(m‖x)) ≥ f(x) (see `density_bound`) the chance to lie in the window is at most
    2·reach times that at the window's end nearest to m, with the least v of the window. Two such bounds are tried,
    the first with m(1-m) ≤ ¼ and KL(m‖x) ≥ (m-x)²/2v', v' being the largest t(1-t) between m and x (Taylor).
    log_most, log_scale: see `scales`.
    """
    mass = a + b
    mean = a / mass
    gap = abs(mean - p_star) - reach
    height = 1.0
    end = p_star - reach if mean < p_star else p_star + reach
    if gap > 0.0:
        spread = 0.25 if (mean < 0.5) != (end < 0.5) else max(mean * (1.0 - mean), end * (1.0 - end))
        log_chance = log_most - mass * gap * gap / (2.0 * spread)
        if log_chance < LEAST:
            return -1.0
        if log_chance < LOG_HALF:
            height = log(uniform(state))
            if log_chance < height:
                return -1.0
    log_a, log_b, log_mass = log(a), log(b), log(mass)
    log_chance = 0.5 * (log_a + log_b - log_mass - LOG_2PI) + log_scale
    if gap > 0.0:
        log_chance -= a * (log_a - log_mass - log(end)) + b * (log_b - log_mass - log1p(-end))
    if height > 0.0:
        if log_chance > LOG_HALF:
            x = beta_draw(state, a, b)
            return x if abs(x - p_star) <= reach else -1.0
        height = log(uniform(state))
    if log_chance < height:
        return -1.0
    x = p_star + reach * (2.0 * uniform(state) - 1.0)
    return x if log_density(a, b, x) + log(2.0 * reach) >= height else -1.0


@compiled
def thin(
    alpha: Float64,
    beta: Float64,
    blocked: npt.NDArray[np.uint8],
    codes: npt.NDArray[np.int16],
    domain: int,
    p_star: float,
    reach: float,
    block: int,
    block_mass: Float64,
    seed: np.uint64,
    scores: Float64,
    rows: Rows,
    found: Rows,
) -> int:
    """Find the rows whose draw θ ~ Beta(α, β) has |θ-p*| ≤ reach without drawing for the others.

    Every density of a block is at most D on the window, so each row is a candidate with chance q = D·2·reach,
    found by geometric skips; a candidate gets x uniform in the window and is accepted with chance f(x)/D. That
    makes (accepted, x) exactly (θ in the window, θ). In blocks with q > `SKIPPED` every row is examined, and
    thinned by its own bound (`draw_within`).
    Pushes accepted rows into the heap (scores, rows), and records the first len(found) of them in row order. Once the
    heap is full the window narrows to what can still enter it.
    Returns how many were accepted, or -1 if a density was above its bound.
    """
    state = stream(seed, 0)
    accepted, size, length = 0, 0, len(alpha)
    for number in range(len(block_mass)):
        if size == len(scores):
            # A row farther away than all that were found cannot be among the nearest.
            reach = min(reach, scores[0])
        low, high = p_star - reach, p_star + reach
        log_scale, log_most = scales(p_star, reach, block_mass[number])
        start, stop = number * block, min(length, (number + 1) * block)
        bound = density_bound(block_mass[number], low, high)
        chance = bound * 2.0 * reach
        direct = chance > SKIPPED
        log_bound = log(bound)
        log_miss = log1p(-chance) if not direct else -1.0
        k = start - 1
        while True:
            k += 1
            if not direct:
                jump = log(uniform(state)) / log_miss
                if jump >= stop - k:
                    break
                k += int(jump)
            if k >= stop:
                break
            if direct:
                if blocked[k] or (domain >= 0 and codes[k] != domain):
                    continue
                x = draw_within(state, alpha[k], beta[k], p_star, reach, log_most, log_scale)
                if x < 0.0:
                    continue
            else:
                x = low + 2.0 * reach * uniform(state)
                height = log(uniform(state)) + log_bound
                if blocked[k] or (domain >= 0 and codes[k] != domain):
                    continue
                # The same bound for this row alone, without the gamma functions, turns most away.
                a, b = alpha[k], beta[k]
                mass = a + b
                gap = a / mass - x
                v = x * (1.0 - x)
                if 0.5 * log(a * b / (2.0 * pi * mass * v * v)) - 2.0 * mass * gap * gap < height:
                    continue
                density = log_density(a, b, x)
                if density > log_bound + 1e-9:
                    return -1
                if density < height:
                    continue
            if accepted < len(found):
                found[accepted] = k
            accepted += 1
            size = push(scores, rows, size, abs(x - p_star), k)
            if direct and size == len(scores) and scores[0] < reach:
                reach = scores[0]
                log_scale, log_most = scales(p_star, reach, block_mass[number])
    return accepted


@compiled
def draw_all(
    alpha: Float64,
    beta: Float64,
    blocked: npt.NDArray[np.uint8],
    codes: npt.NDArray[np.int16],
    domain: int,
    p_star: float,
    reach: float,
    found: Rows,
    block: int,
    first: int,
    last: int,
    seed: np.uint64,
    scores: Float64,
    rows: Rows,
    size: int,
) -> int:
    """Draw θ ~ Beta(α, β) for every row of blocks first … last-1 and push |θ-p*| into the heap.

    reach ≥ 0: rows in `found` (sorted) are known to lie within it and are left out; all others are known to
    lie outside, and θ is drawn given that (by rejection, one draw a row on average over what is known).
    Each block has its own random stream, so that the draws do not depend on how blocks are split over threads.
    Returns the size of the heap.
    """
    known = np.searchsorted(found, first * block)
    for number in range(first, last):
        state = stream(seed, number + 1)
        for k in range(number * block, min(len(alpha), (number + 1) * block)):
            if known < len(found) and found[known] == k:
                known += 1
                continue
            if blocked[k] or (domain >= 0 and codes[k] != domain):
                continue
            while True:
                distance = abs(beta_draw(state, alpha[k], beta[k]) - p_star)
                if distance > reach:
                    break
            size = push(scores, rows, size, distance, k)
    return size
