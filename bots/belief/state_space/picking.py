"""Selection from the state-space belief: what tasks share is drawn, what is a task's own is averaged over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bots.belief.state_space import scoring
from bots.belief.state_space.filter import sigmoid
from bots.belief.state_space.states import Away, Drawn, States
from bots.belief.state_space.tasks import FADE, Tasks
from bots.support.arrays import Float64, Rows

if TYPE_CHECKING:
    from bots.belief.base import Belief

PATIENCE = 32
"""Steps that a cell may be left alone before each further one counts as a group that could have been asked of it."""
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
    selection. What would still be unknown is averaged over, as residuals are. So an unknown cell counts less than a
    known one of its mean, as it should where learning is worth little more than what is known already; but of a cell
    that has been left alone for w > `PATIENCE` steps the draw has what w - `PATIENCE` groups would remove. Else known
    cells that teach enough to fill every batch would keep all others from ever being asked.

    Tasks of a cell teach much the same. With `crowding` c and `own_share` s a task counts s + (1-s)/(1 + c·m) of its
    value if m tasks of its cell are in the batch: cells of nearly equal value share the batch, and one whose value is
    below s of another's is not taken for the sake of variety.
    """

    def __init__(
        self,
        belief: Belief,
        states: States,
        tasks: Tasks,
        clock: int,
        domain: int,
        rollouts: float,
    ) -> None:
        self.belief, self.states, self.tasks, self.clock = belief, states, tasks, clock
        self.rollouts = rollouts
        self.free = tasks.free(belief.blocked_rows)
        self.inside = np.ones(len(tasks.asked), bool) if domain < 0 else states.book.domain == domain
        self.free[~self.inside] = 0

    def by_draws(self, batch: int, p_star: float, rng: np.random.Generator) -> Rows:
        """Thompson sampling; see the class."""
        states, options = self.states, self.states.options
        parts = min(options.draws, batch)
        ends = batch * np.arange(parts + 1) // parts
        share, left = self._learnable()
        drawn = states.draw(rng, parts)
        expected = states.logits(states.mean, states.cells.deviation)
        worth = self._worth(drawn) if options.gain else np.ones((len(share), parts))
        extra = left[states.book.cell]
        away, trained = states.away(drawn), drawn.states[-1]
        return self._best(np.diff(ends), p_star, expected, extra, share, away, trained, worth, rng, False)

    def _learnable(self) -> tuple[Float64, Float64]:
        """Factor of each cell's deviation in a draw, and the variance that is averaged over: float64 (C,) each."""
        options, variance = self.states.options, self.states.cell_variance()
        if options.temper is not None:
            return np.full(len(variance), np.sqrt(options.temper)), np.zeros(len(variance))
        tasks, belief = self.tasks, self.belief
        alone = self.clock - tasks.latest(self.states.book.cell, len(variance), belief.last_step)
        groups = np.maximum(1, alone - PATIENCE)
        share = variance / (variance + (options.residual + 4 / self.rollouts) / groups)
        return np.sqrt(share), (1 - share) * variance

    def by_means(self, batch: int, p_star: float, rng: np.random.Generator) -> Rows:
        """The tasks whose expected success probability is nearest to p*."""
        states, strata = self.states, len(self.tasks.asked)
        expected, extra = states.marginals(np.arange(strata), np.zeros(strata))
        cells = len(states.cells.loadings)
        away = Away(np.zeros((cells, 1)), np.zeros((1, states.traits.shape[1], 1)))
        trained, ones = states.mean[-1:], np.ones((cells, 1))
        return self._best(
            np.array([batch]), p_star, expected, extra, ones[:, 0], away, trained, ones, rng, True
        )

    def _best(
        self,
        wanted: Rows,
        p_star: float,
        expected: Float64,
        extra: Float64,
        share: Float64,
        away: Away,
        trained: Float64,
        worth: Float64,
        rng: np.random.Generator,
        by_mean: bool,
    ) -> Rows:
        """The rows of least loss, wanted(d) of each draw d and no row twice; arguments as of `scoring.best`."""
        belief, tasks, book = self.belief, self.tasks, self.states.book
        crowding = 0.0 if by_mean else float(self.states.options.crowding)
        seeds = rng.integers(2**64, size=2, dtype=np.uint64)
        need = np.cumsum(wanted)  # what earlier draws may have taken, and its own
        shape = len(wanted), 2 * int(need[-1]) + 16
        values, keys, items = np.empty(shape), np.empty(shape, np.uint64), np.empty(shape, np.int64)
        sizes = np.empty(len(wanted), np.int64)
        scoring.best(
            self.inside,
            self.free,
            tasks.starts,
            tasks.asked,
            tasks.order,
            belief.blocked,
            tasks.own,
            tasks.own_variance,
            tasks.trained,
            belief.last_step,
            self.clock,
            tasks.keep,
            FADE,
            tasks.residual,
            book.cell,
            expected,
            extra,
            share,
            away.cells,
            self.states.traits,
            away.traits,
            book.domain,
            trained,
            worth,
            p_star,
            by_mean,
            need,
            crowding,
            float(self.states.options.own_share),
            tasks.stratum,
            seeds[0],
            values,
            keys,
            items,
            sizes,
        )
        out = np.empty(int(wanted.sum()), np.int64)
        found = scoring.take(
            values,
            keys,
            items,
            sizes,
            wanted,
            crowding,
            float(self.states.options.own_share),
            self.free,
            tasks.starts,
            tasks.asked,
            tasks.order,
            tasks.stratum,
            book.cell,
            len(share),
            belief.blocked,
            seeds[1],
            out,
        )
        belief.blocked[out[:found]] &= 0xFF - scoring.PICKED
        if found < len(out):
            raise AssertionError(f"{len(out)} tasks were asked for, and only {found} are free")
        return out

    def _worth(self, drawn: Drawn) -> Float64:
        """What a unit of signal in each cell gains the whole pool, over that of the best, float64 (C, D).

        A logit's move of cell c by δ gains Σ_k σ'(η_k)·δ over its tasks, here averaged over `HORIZON` logits ahead, so
        that hopeless cells that a neighbour can open count. By the drawn drifts, signal in c moves c, its neighbours,
        its domain and the pool.
        """
        states, book = self.states, self.states.book
        cells, x = states.cells, drawn.states
        count = len(cells.loadings)
        logit = states.base[:, None] + cells.loadings @ x[: cells.size] + drawn.deviation
        ahead = (sigmoid(logit + HORIZON) - sigmoid(logit)) / HORIZON
        value = np.bincount(book.cell, np.diff(self.tasks.starts), count)[:, None] * ahead
        drift = np.maximum(x[states.drift : states.drift + 4], 0)
        domains = book.cells[:, 0]
        by_domain = np.zeros((int(domains.max()) + 1, value.shape[1]))
        np.add.at(by_domain, domains, value)
        total = drift[0] * value + drift[2] * by_domain[domains] + drift[3] * value.sum(axis=0)
        if count <= NEAR_CELLS:
            everything = np.arange(count)
            total += drift[1] * (cells.nearness(everything, everything) @ value)
        most = total.max(axis=0)
        return np.where(most > 0, total / np.where(most > 0, most, 1), 1.0)
