"""Compiled scoring of strata and observed tasks under several draws at once, and the batch taken from the best."""

from __future__ import annotations

from math import exp, inf, log, pi, sqrt

import numpy as np
import numpy.typing as npt

from bots.belief.state_space.entries import (
    Int32,
    UInt64,
    cell_of,
    cut,
    discount,
    fill,
    heapify,
    rank,
    sink,
    swap,
)
from bots.support.arrays import Float32, Float64, Rows
from bots.support.compile import compiled
from bots.support.random_numbers import State, mix, stream, uniform

PICKED = 2
"""Bit in `blocked` of a row that a selection has already taken."""
PASSES = 16
"""Passes through the tasks, each of every 16th stratum, and of every 16th observed task of the large ones."""
AGES = 4096
"""Steps since a task's latest observation up to which what remains of it is in a table."""
SLACK = 1e-9
"""Loss by which a bound may be wrong for rounding."""


@compiled
def shrink(variance: float) -> float:
    """κ with E σ(N(η, variance)) ≈ σ(κη) (MacKay 1992)."""
    return 1.0 / sqrt(1.0 + pi * variance / 8.0)


@compiled
def loss(scaled: float, kappa: float, p_star: float, by_mean: bool) -> float:
    """|E θ - p*| where `by_mean`, else E (θ - p*)², for θ = σ(N(η, variance)); scaled: κη, see `shrink`.

    E θ(1-θ), the derivative of E θ ≈ σ(κη) by η, is ≈ κ·E θ·(1 - E θ).
    """
    q = 1.0 / (1.0 + exp(-scaled))  # without a branch that can't be predicted; no overflow: 1/inf is 0
    if by_mean:
        return abs(q - p_star)
    return q - kappa * q * (1.0 - q) - 2.0 * p_star * q + p_star * p_star


@compiled
def _logit(q: float) -> float:
    if q <= 0.0:
        return -inf
    return inf if q >= 1.0 else log(q / (1.0 - q))


@compiled
def reach(most: float, kappa: float, p_star: float, by_mean: bool) -> tuple[float, float]:
    """Interval of κη outside which no loss is below `most`, for this κ and all smaller ones; (inf, -inf): nowhere."""
    if by_mean:
        return _logit(p_star - most), _logit(p_star + most)
    # The loss falls with κ, and is (q - p*)² + (1-κ)·q(1-q): a quadratic in q.
    middle = 2.0 * p_star - (1.0 - kappa)
    root = middle * middle - 4.0 * kappa * (p_star * p_star - most)
    if root < 0.0:
        return inf, -inf
    root = sqrt(root)
    return _logit((middle - root) / (2.0 * kappa)), _logit((middle + root) / (2.0 * kappa))


@compiled
def narrow(
    low: Float64,
    high: Float64,
    d: int,
    most: float,
    members: int,
    least: float,
    crowding: float,
    own_share: float,
    ceiling: float,
    sharpest: tuple[float, float],
    p_star: float,
    by_mean: bool,
) -> None:
    """Set the range of κη, (2, D) by kind, outside which no task of a cell can still be among the best of draw d.

    With crowding a further task must be better than a member of its cell that is kept, or good enough after them all.
    A range stays true when better tasks come in: tasks of its cell that were kept then are still before a worse one.
    """
    bound = most
    if crowding > 0.0:
        bound = max(least, most / discount(members, crowding, own_share))
    for kind in range(2):
        low[kind, d], high[kind, d] = reach(bound + ceiling + SLACK, sharpest[kind], p_star, by_mean)


@compiled
def best(
    inside: npt.NDArray[np.bool_],
    free: Rows,
    starts: Rows,
    asked: Rows,
    order: Int32,
    blocked: npt.NDArray[np.uint8],
    own: Float32,
    own_variance: Float32,
    trained: Float32,
    last_step: Int32,
    clock: int,
    keep: float,
    fade: float,
    residual: float,
    cell: Rows,
    expected: Float64,
    extra: Float64,
    share: Float64,
    of_cell: Float64,
    traits: Float64,
    of_traits: Float64,
    domain: Rows,
    of_trained: Float64,
    worth: Float64,
    p_star: float,
    by_mean: bool,
    need: Rows,
    crowding: float,
    own_share: float,
    stratum: Int32,
    seed: np.uint64,
    values: Float64,
    keys: UInt64,
    items: Rows,
    sizes: Rows,
) -> None:
    """For each of D draws its best entries, which hold at least `need` tasks, in no order.

    An entry is an observed task, by its row, or a stratum s with free tasks, as -1 - s. Stratum s has the drawn logit
    expected(s) + share(cell)·(of_cell(cell) + traits(s)·of_traits(domain)) without a task's residual, and the further
    variance extra(s) is averaged over.

    expected, extra: float64 (S,). share: (C,), by cell. of_cell: (C, D). traits: (S, F). of_traits: (domains+1, F, D),
    the last for domains without their own. of_trained: (D,), the coefficient of what a task itself was trained with.
    worth: (C, D), value of signal, in (0, 1]. need: int64 (D,). values, keys, items: (D, 2·max(need) + 16), sizes:
    (D,), the entries; equal values come in the order of random keys.

    Tasks of one cell count less the more of them a batch has, see `take`; what other draws take of a cell is not known
    here. It is enough to keep the `need` best by a discount for the better tasks of this draw alone: n tasks that
    others take push at most n of these out.

    Time: O(D·(S + observed tasks)), nearly all of it one comparison each with the range of κη that can still be among
    the best, with crowding by cell; each task's columns are read once. Space: O(D·(S + C)).
    """
    draws, last, features = len(need), len(of_traits) - 1, traits.shape[1]
    ceiling = 0.0 if by_mean else max(p_star, 1.0 - p_star) ** 2
    sharpest, sharpest_asked = 0.0, 0.0
    for s in range(len(asked)):
        if inside[s]:
            sharpest = max(sharpest, shrink(extra[s] + residual))
            sharpest_asked = max(sharpest_asked, shrink(extra[s]))
    # keep and fade to the power of every age that is frequent.
    ages = min(max(clock + 2, 2), AGES)
    kept, faded = np.ones(ages), np.ones(ages)
    for age in range(1, ages):
        kept[age], faded[age] = kept[age - 1] * keep, faded[age - 1] * fade
    sharp = sharpest, sharpest_asked
    cells = len(of_cell)
    # By cell where they differ, by kind (strata, observed tasks), by draw; and the cut that each is of.
    rows = cells if crowding > 0.0 else 1
    low, high = np.full((rows, 2, draws), -inf), np.full((rows, 2, draws), inf)
    cuts, ranged = np.zeros(draws, np.int64), np.zeros((rows, draws), np.int64)
    limit, most = np.full(draws, 16), np.full(draws, inf)
    scores, before = np.empty(values.shape[1]), np.empty(cells, np.int64)
    members, least = np.zeros((draws, cells), np.int64), np.full((draws, cells), -inf)
    score = np.empty(draws)
    sizes[:] = 0
    logits, eligible = np.empty((len(asked), draws)), inside & ((free > 0) | (asked > 0))
    for s in range(len(asked)):
        if not eligible[s]:
            continue
        c, own_domain = cell[s], min(domain[s], last)
        for d in range(draws):
            logits[s, d] = of_cell[c, d]
        for f in range(features):
            trait = traits[s, f]
            for d in range(draws):
                logits[s, d] += trait * of_traits[own_domain, f, d]
        for d in range(draws):
            logits[s, d] = expected[s] + share[c] * logits[s, d]
    # Strata far apart come one after the other, and a large one comes in parts, so that the ranges are soon narrow, and
    # with crowding so is what each cell still adds.
    large = np.flatnonzero(asked >= PASSES)
    for first in range(PASSES):
        small = (len(asked) - first + PASSES - 1) // PASSES
        for j in range(small + len(large)):
            s = first + PASSES * j if j < small else large[j - small]
            if not eligible[s] or (j < small and asked[s] >= PASSES):
                continue
            c, logit = cell[s], logits[s]
            row = c if crowding > 0.0 else 0
            lows, highs = low[row], high[row]
            for d in range(draws if crowding > 0.0 else 0):
                if ranged[row, d] < cuts[d]:
                    crowd = members[d, c], least[d, c], crowding, own_share
                    narrow(lows, highs, d, most[d], *crowd, ceiling, sharp, p_star, by_mean)
                    ranged[row, d] = cuts[d]
            begin, stride = (starts[s] - 1, 1) if j < small else (starts[s] - 1 + first, PASSES)
            # The stratum's free tasks first, as one entry, then each observed one.
            for i in range(begin, starts[s] + asked[s], stride):
                mean, signal, item, variance, kind = 0.0, 0.0, -1 - s, residual, 0
                if i < starts[s]:
                    if free[s] <= 0:
                        continue
                else:
                    k = order[i]
                    if blocked[k]:
                        continue
                    age = max(clock - last_step[k], 0)
                    remains = kept[age] if age < ages else keep**age
                    variance = remains * remains * own_variance[k] + (1.0 - remains * remains) * residual
                    left = faded[age] if age < ages else fade**age
                    mean, signal, item, kind = remains * own[k], trained[k] * left, int(k), 1
                kappa, near = shrink(variance + extra[s]), 0
                for d in range(draws):
                    score[d] = kappa * (logit[d] + mean + of_trained[d] * signal)
                    near += (score[d] >= lows[kind, d]) & (score[d] <= highs[kind, d])
                if near == 0:
                    continue
                for d in range(draws):
                    if score[d] < lows[kind, d] or score[d] > highs[kind, d]:
                        continue
                    value = loss(score[d], kappa, p_star, by_mean)
                    if not by_mean:
                        value = worth[c, d] * (value - ceiling)
                    if value > most[d]:
                        continue
                    # Worse than all its cell's tasks that are kept, and after them not among the best.
                    beside = discount(members[d, c], crowding, own_share)
                    if value > least[d, c] and value * beside > most[d]:
                        continue
                    size = sizes[d]
                    key = mix(seed ^ mix(np.uint64(item)))
                    values[d, size], keys[d, size], items[d, size] = value, key, item
                    sizes[d] += 1
                    if sizes[d] == limit[d]:
                        entries = scores, values[d], keys[d], items[d]
                        for i in range(sizes[d] if crowding > 0.0 else 0):
                            dropped = cell_of(items[d, i], stratum, cell)
                            members[d, dropped], least[d, dropped] = 0, -inf
                        rank(*entries, sizes[d], crowding, own_share, free, stratum, cell, before)
                        sizes[d] = cut(*entries, sizes[d], need[d], crowding, own_share, free)
                        if sizes[d] < limit[d]:
                            most[d] = scores[: sizes[d]].max()
                            if crowding > 0.0:
                                kept_of = members[d], least[d]
                                fill(
                                    scores,
                                    values[d],
                                    items[d],
                                    sizes[d],
                                    crowding,
                                    own_share,
                                    free,
                                    stratum,
                                    cell,
                                    *kept_of,
                                )
                            crowd = members[d, c], least[d, c], crowding, own_share
                            narrow(lows, highs, d, most[d], *crowd, ceiling, sharp, p_star, by_mean)
                            cuts[d] += 1
                            ranged[row, d] = cuts[d]
                        limit[d] = min(3 * sizes[d] + 32, values.shape[1])


@compiled
def take(
    values: Float64,
    keys: UInt64,
    items: Rows,
    sizes: Rows,
    wanted: Rows,
    crowding: float,
    own_share: float,
    free: Rows,
    starts: Rows,
    asked: Rows,
    order: Int32,
    stratum: Int32,
    cell: Rows,
    cells: int,
    blocked: npt.NDArray[np.uint8],
    seed: np.uint64,
    out: Rows,
) -> int:
    """Write wanted(d) rows for each draw d into `out`, best first and none of them twice; mark them picked.

    A task's value is discounted for the m tasks of its cell already in the batch, also by other draws.
    Returns how many there are. values, keys, items, sizes: the entries of `best`, which are enough to replace what
    earlier draws took.
    """
    state = stream(seed, 0)
    found, end = 0, 0
    scores, before = np.empty(values.shape[1]), np.zeros(cells, np.int64)
    for d in range(len(wanted)):
        end += wanted[d]
        size = sizes[d]
        entries = scores, values[d], keys[d], items[d]
        scores[:size] = values[d, :size]
        heapify(*entries, size)
        while found < end and size > 0:
            item = items[d, 0]
            c = cell_of(item, stratum, cell)
            score = values[d, 0] * discount(before[c], crowding, own_share)
            if score > scores[0]:
                # The batch got tasks of this cell since the score was computed, which can only have become worse.
                scores[0] = score
                sink(*entries, 0, size)
                continue
            taken = 0
            if item >= 0:
                if not blocked[item] & PICKED:
                    blocked[item] |= np.uint8(PICKED)
                    out[found] = item
                    taken = 1
            else:
                s = -1 - item
                number = min(end - found if crowding == 0.0 else 1, free[s])
                if number > 0:
                    first, stop = starts[s] + asked[s], starts[s + 1]
                    taken = _take_unasked(order, first, stop, blocked, number, state, out[found:])
                    free[s] -= taken
            found += taken
            before[c] += taken
            if item < 0 and crowding > 0.0 and taken > 0:
                continue  # the stratum's next task, at its new score
            size -= 1
            swap(*entries, 0, size)
            sink(*entries, 0, size)
    return found


@compiled
def _take_unasked(
    order: Int32,
    first: int,
    stop: int,
    blocked: npt.NDArray[np.uint8],
    number: int,
    state: State,
    out: Rows,
) -> int:
    """Write up to `number` free rows of order[first:stop], drawn without replacement, into `out`; mark them picked."""
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
