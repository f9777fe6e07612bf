"""Selection from the state-space belief: what tasks share is drawn, what is a task's own is averaged over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bots.belief.state_space import kernels
from bots.belief.state_space.filter import sigmoid
from bots.belief.state_space.states import States
from bots.belief.state_space.tasks import FADE, Tasks
from bots.support.arrays import Float64, Rows

if TYPE_CHECKING:
    from bots.belief.base import Belief

HORIZON = 2.0
"""Logits over which a cell's further gain is reckoned where tasks are selected for the pool's gain."""
NEAR_CELLS = 2048
"""Cells up to which that gain counts what neighbouring levels have of it; the table of neighbours is C x C."""


class Picker:
    """One selection. Tasks of a stratum that were never observed are exchangeable: given a draw of what is shared they
    have one score, so a selection costs O(strata + observed tasks + batch), whatever the pool's size.

    A batch is divided among `draws` draws of the shared states. With one draw alone, exchangeable tasks would all come
    from the one stratum that it favors; with a draw a part, strata come up as often as they are likely to be the best.

    Of a cell's variance V a draw has what one more group of the cell would remove, V²/(V + v + 4/n), where v is a
    residual's variance and 4/n that of a group's logit at p = ½. It is a draw of what could be believed after the
    selection. What would still be unknown is averaged over, as residuals are.
    """

    def __init__(
        self,
        belief: Belief,
        states: States,
        tasks: Tasks,
        clock: int,
        domain: int,
        rollouts: float,
        rng: np.random.Generator,
    ) -> None:
        self.belief, self.states, self.tasks, self.clock = belief, states, tasks, clock
        self.rollouts = rollouts
        self.free = tasks.free(belief.blocked_rows)
        self.inside = np.ones(len(tasks.asked), bool) if domain < 0 else states.book.domain == domain
        self.free[~self.inside] = 0
        # Equal strata come in random order.
        self.strata = rng.permutation(len(tasks.asked))

    def by_draws(self, batch: int, p_star: float, rng: np.random.Generator) -> Rows:
        """Thompson sampling; see the class."""
        options = self.states.options
        parts = min(options.draws, batch)
        sizes = [batch * (part + 1) // parts - batch * part // parts for part in range(parts)]
        chosen: list[Rows] = []
        share, extra = self._learnable()
        expected = self.states.logits(self.states.mean, self.states.cells.deviation)
        try:
            for size in sizes:
                x = self.states.draw(rng, 1.0)
                logit = expected + share * (self.states.logits(*x) - expected)
                worth = self._worth(*x) if options.gain else np.ones(len(logit))
                chosen.append(self._best(size, p_star, logit, extra, worth, float(x[0][-1]), rng, False))
        finally:
            for rows in chosen:
                self.belief.blocked[rows] &= 0xFF - kernels.PICKED
        return np.concatenate(chosen)

    def _learnable(self) -> tuple[Float64, Float64]:
        """Factor of each stratum's deviation in a draw, and the variance that is averaged over: float64 (S,) each."""
        options, cell = self.states.options, self.states.book.cell
        if options.temper is not None:
            return np.full(len(cell), np.sqrt(options.temper)), np.zeros(len(cell))
        variance = self.states.cell_variance()
        share = variance / (variance + options.residual + 4 / self.rollouts)
        return np.sqrt(share)[cell], ((1 - share) * variance)[cell]

    def by_means(self, batch: int, p_star: float, rng: np.random.Generator) -> Rows:
        """The tasks whose expected success probability is nearest to p*."""
        logit, extra = self.states.marginals(np.arange(len(self.strata)), np.zeros(len(self.strata)))
        coefficient = float(self.states.mean[-1])
        rows = self._best(batch, p_star, logit, extra, np.ones(len(logit)), coefficient, rng, True)
        self.belief.blocked[rows] &= 0xFF - kernels.PICKED
        return rows

    def _best(
        self,
        batch: int,
        p_star: float,
        logit: Float64,
        extra: Float64,
        worth: Float64,
        coefficient: float,
        rng: np.random.Generator,
        by_mean: bool,
    ) -> Rows:
        """The rows of least loss, marked as picked."""
        belief, tasks = self.belief, self.tasks
        seen = int(tasks.asked[self.inside].sum())
        scores, rows = np.empty(seen), np.empty(seen, np.int64)
        count = kernels.score_asked(
            tasks.order,
            tasks.starts,
            tasks.asked,
            self.inside,
            belief.blocked,
            logit,
            extra,
            worth,
            tasks.own,
            tasks.own_variance,
            tasks.trained,
            belief.last_step,
            self.clock,
            tasks.keep,
            FADE,
            tasks.residual,
            coefficient,
            p_star,
            by_mean,
            scores,
            rows,
        )
        known = _least(scores[:count], batch)
        known_scores, known_rows = scores[known], rows[known]
        fresh, open_strata = np.empty(len(self.strata)), np.empty(len(self.strata), np.int64)
        count = kernels.score_strata(
            self.strata, self.free, logit, extra, worth, tasks.residual, p_star, by_mean, fresh, open_strata
        )
        fresh = fresh[:count]
        places = _least(fresh, batch)
        out = np.empty(batch, np.int64)
        found, i = 0, 0
        for place in places.tolist():
            while found < batch and i < len(known) and known_scores[i] <= fresh[place]:
                out[found] = known_rows[i]
                belief.blocked[known_rows[i]] |= kernels.PICKED
                found, i = found + 1, i + 1
            if found == batch:
                break
            stratum = int(open_strata[place])
            first, stop = int(tasks.starts[stratum] + tasks.asked[stratum]), int(tasks.starts[stratum + 1])
            number = min(batch - found, int(self.free[stratum]))
            seed = rng.integers(2**64, dtype=np.uint64)
            taken = kernels.take_unasked(
                tasks.order, first, stop, belief.blocked, number, seed, out[found : found + number]
            )
            self.free[stratum] -= taken
            found += taken
        while found < batch and i < len(known):
            out[found] = known_rows[i]
            belief.blocked[known_rows[i]] |= kernels.PICKED
            found, i = found + 1, i + 1
        if found < batch:
            raise AssertionError(f"{batch} tasks were asked for, and only {found} are free")
        return out

    def _worth(self, x: Float64, deviation: Float64) -> Float64:
        """What a unit of signal in each stratum gains the whole pool, over that of the best: float64 (S,).

        A logit's move of cell c by δ gains Σ_k σ'(η_k)·δ over its tasks, here averaged over `HORIZON` logits ahead, so
        that hopeless cells that a neighbour can open count. By the drawn drifts, signal in c moves c, its neighbours,
        its domain and the pool.
        """
        states, book = self.states, self.states.book
        cells = states.cells
        count = len(cells.loadings)
        logit = states.base + cells.loadings @ x[: cells.size] + deviation
        ahead = (sigmoid(logit + HORIZON) - sigmoid(logit)) / HORIZON
        value = np.bincount(book.cell, np.diff(self.tasks.starts), count) * ahead
        drift = np.maximum(x[states.drift : states.drift + 4], 0)
        domains = book.cells[:, 0]
        total = drift[0] * value + drift[2] * np.bincount(domains, value)[domains] + drift[3] * value.sum()
        if count <= NEAR_CELLS:
            everything = np.arange(count)
            total += drift[1] * (cells.nearness(everything, everything) @ value)
        most = float(total.max())
        if not most > 0:
            return np.ones(len(book.cell))
        worth: Float64 = (total / most)[book.cell]
        return worth


def _least(scores: Float64, number: int) -> Rows:
    """Places of the least scores, rising: at most `number`, int64."""
    if len(scores) > number:
        near = np.argpartition(scores, number - 1)[:number]
        return near[np.argsort(scores[near], kind="stable")]
    return np.argsort(scores, kind="stable")
