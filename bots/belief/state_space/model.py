"""The state-space belief as a model behind BOTS (docs/beliefs.md derives it)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bots.belief.base import BeliefModel
from bots.belief.prior import Prior
from bots.belief.state_space import kernels
from bots.belief.state_space.codebook import Codebook
from bots.belief.state_space.embeddings import NoVectorsError
from bots.belief.state_space.journal import ReplayJournal
from bots.belief.state_space.logits import logit_normal, matching_beta
from bots.belief.state_space.options import Options
from bots.belief.state_space.picking import Picker
from bots.belief.state_space.states import DRIFTS, States
from bots.belief.state_space.tasks import Tasks
from bots.pool import EMBEDDING, TaskPool
from bots.support.arrays import Float64, Rows
from bots.support.observation import Observation

SHOWN = 16
"""Cells among the metrics."""


class StateSpace(BeliefModel):
    """Success probabilities as logits that training moves: logit(k) = cell(k) + features(k)·w + own(k).

    Cells (combinations of the pool's columns) and coefficients are Gaussian states of one filter, with the drifts that
    say how far training on a cell carries; own(k) is a residual of each task. A group of n rewards is binomial
    evidence. After each step the cells move by drift times the batch's signal and become less certain. Evidence that
    comes late is put where it belongs: the filter goes back and takes the steps since once more.

    37 bytes a task. An update costs O(B·d² + d³), a selection O(strata + observed tasks + B), with d the states: cells
    (or 96 for more than 192 of them), coefficients of features and 5 drifts.

    options: see `Options`.
    """

    may_lack = ("stratum",)

    def __init__(self, pool: TaskPool, prior: Prior, history: int, **options: Any) -> None:
        super().__init__(pool, prior, history)
        self.options = Options.of(options)
        columns = self.options.columns
        if columns is None:
            columns = ["level"] if pool.has_levels else []
        columns = ["domain", *(name for name in columns if name != "domain")]
        features = self.options.features
        if features is None:
            features = [EMBEDDING] if pool.has_embeddings else []
        rest = self.options.anchors, self.options.components
        try:
            self.book = Codebook(pool, prior, columns, features, *rest)
        except NoVectorsError:
            if self.options.features is not None:
                raise
            # Nobody named the column, and it says nothing.
            self.book = Codebook(pool, prior, columns, [], *rest)
        self.states = States(self.book, prior, self.options)
        self.tasks = Tasks(
            self.book.stratum, len(self.book.cell), self.options.residual, self.options.widening
        )
        self.journal = ReplayJournal(history, self.states.snapshot())
        self._version, self._betas = 0, (-1, np.empty(0), np.empty(0))

    @property
    def _now(self) -> int:
        """The step that the states are at."""
        return self.journal.clock + 1

    def observe(self, observation: Observation) -> None:
        """See `BeliefModel`."""
        journal, wave = self.journal, observation.wave
        journal.add(observation)
        if wave > journal.clock:
            self._take(wave)
        else:
            self._take_again(journal.start_of(wave))
        self.tasks.ask(observation.rows)
        journal.thin()
        self._version += 1

    def _take_again(self, moment: int) -> None:
        """Go back to a moment, and take all evidence from there on once more."""
        journal = self.journal
        for later in sorted((step for step in journal.before if step >= moment), reverse=True):
            self.tasks.put_back(journal.before.pop(later), self.last_step)
        self.states.go_back(journal.moments[moment])
        journal.moments = {m: state for m, state in journal.moments.items() if m <= moment}
        journal.clock = moment - 1 if moment >= 0 else -1
        for step in journal.since(moment):
            self._take(step)

    def _take(self, step: int) -> None:
        """Condition on a step's groups, and move on to the next."""
        journal, states, tasks = self.journal, self.states, self.tasks
        batch = journal.batches[step]
        rows = batch.rows
        if journal.clock >= 0 and step > journal.clock + 1:
            states.pass_time(step - journal.clock - 1)
        journal.moments[step] = states.snapshot()
        journal.before[step] = tasks.kept(rows, self.last_step)
        own = tasks.residuals(rows, self.last_step, step)
        strata = tasks.stratum[rows].astype(np.int64)
        posterior = states.learn(strata, batch, own)
        signal = np.minimum(4 * batch.variance, 1)
        tasks.own[rows] = own.mean + posterior.residual
        tasks.own_variance[rows] = np.maximum(posterior.variance, 1e-6)
        tasks.trained[rows] = own.trained + signal / 4
        self.last_step[rows] = step
        states.move(strata, signal)
        journal.clock = step

    def _logits(self, rows: Rows) -> tuple[Float64, Float64]:
        """Mean and variance of the rows' logits now."""
        own = self.tasks.residuals(rows, self.last_step, self._now)
        mean, variance = self.states.marginals(self.tasks.stratum[rows].astype(np.int64), own.trained)
        return mean + own.mean, variance + own.variance

    def mean(self, rows: Rows) -> Float64:
        """See `Belief`."""
        return logit_normal(*self._logits(rows))[0]

    def deviation(self, rows: Rows) -> Float64:
        """See `Belief`."""
        deviation: Float64 = np.sqrt(logit_normal(*self._logits(rows))[1])
        return deviation

    @property
    def alpha(self) -> Float64:  # type: ignore[override]
        """α of the Beta with each belief's mean and variance: computed when asked for, O(K)."""
        return self._matching()[0]

    @property
    def beta(self) -> Float64:  # type: ignore[override]
        """β likewise."""
        return self._matching()[1]

    def _matching(self) -> tuple[Float64, Float64]:
        version, alpha, beta = self._betas
        if version != self._version:
            # Never observed tasks of a stratum have one belief.
            strata = np.arange(len(self.tasks.asked))
            mean, variance = self.states.marginals(strata, np.zeros(len(strata)))
            of_strata = matching_beta(*logit_normal(mean, variance + self.options.residual))
            alpha, beta = (column[self.tasks.stratum] for column in of_strata)
            rows = self.tasks.asked_rows()
            alpha[rows], beta[rows] = matching_beta(*logit_normal(*self._logits(rows)))
            self._betas = self._version, alpha, beta
        return alpha, beta

    def nearest(
        self, batch: int, p_star: float, domain: int, rng: np.random.Generator, *, draw: bool
    ) -> Rows:
        """See `BeliefModel`."""
        if domain >= 0:
            domain = self.book.domain_code(self.pool.domains[domain])
        rollouts = self.journal.rollouts
        picker = Picker(self, self.states, self.tasks, self._now, domain, rollouts)
        return picker.by_draws(batch, p_star, rng) if draw else picker.by_means(batch, p_star, rng)

    def sample(self, rng: np.random.Generator) -> Float64:
        """See `BeliefModel`."""
        states, deviation = (part[:, 0] for part in self.states.draw(rng, 1))
        logit = self.states.logits(states, deviation)
        seed = rng.integers(2**64, dtype=np.uint64)
        drawn = np.empty(len(self))
        for start in range(0, len(self), 65536):
            rows = np.arange(start, min(start + 65536, len(self)))
            own = self.tasks.residuals(rows, self.last_step, self._now)
            mean = own.mean + states[-1] * own.trained
            kernels.draw_tasks(self.tasks.stratum, logit, mean, own.variance, start, seed, drawn)
        return drawn

    def grow(self, pool: TaskPool, prior: Prior) -> None:
        """See `BeliefModel`. New cells start where the known ones lead one to expect them.

        Evidence of the steps before, should it still come, finds the new cells as they are now.
        """
        seen = np.zeros(len(pool), bool)
        seen[: len(self)] = self.last_step >= 0
        old = {name: getattr(self, name) for name in ("last_step", "observations", "dispersion", "blocked")}
        super().__init__(pool, prior, self.history)
        for name, column in old.items():
            getattr(self, name)[: len(column)] = column
        self.book.grow(pool, prior)
        self.states.grow()
        self.journal.pad(self.states.cells)
        self.tasks.grow(self.book.stratum, len(self.book.cell), seen)
        self._version += 1

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """See `Belief`."""
        tasks = self.tasks
        own = {
            "own": tasks.own,
            "own_variance": tasks.own_variance,
            "trained": tasks.trained,
            "order": tasks.order,
            "stratum": self.book.stratum,
        }
        return super().columns() | own

    def state_dict(self) -> dict[str, Any]:
        """See `BeliefModel`."""
        return {
            "book": self.book.state_dict(),
            "states": self.states.state_dict(),
            "journal": self.journal.state_dict(),
            "asked": self.tasks.asked,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `BeliefModel`."""
        self.book.load_state_dict(self.pool, self.prior, state["book"])
        self.states.load_state_dict(state["states"])
        self.journal.load_state_dict(state["journal"])
        order = self.tasks.order.copy()
        self.tasks.sort(self.book.stratum, len(self.book.cell), np.zeros(len(self), bool))
        self.tasks.restore(order, state["asked"])
        self._version += 1

    def metrics(self) -> dict[str, float]:
        """The drifts with their standard deviations, the cells' spread, and how often a shock was found.

        Of the `SHOWN` cells with the most tasks also the mean and the standard deviation of the pass rate of a task
        with mean features.
        """
        states = self.states
        deviation = np.sqrt((states.root**2).sum(axis=1))
        figures = {f"drift_{name}": float(states.mean[states.drift + i]) for i, name in enumerate(DRIFTS)}
        figures |= {f"drift_{name}_sd": float(deviation[states.drift + i]) for i, name in enumerate(DRIFTS)}
        size = states.cells.size
        figures["cell_sd"] = float(np.sqrt(np.mean(deviation[:size] ** 2)))
        figures["cells"], figures["strata"] = float(len(self.book.cells)), float(len(self.book.cell))
        figures["shocks"] = float(states.shocks)
        of_cell = np.bincount(self.book.cell, np.diff(self.tasks.starts), len(self.book.cells))
        shown = np.sort(np.argsort(-of_cell, kind="stable")[:SHOWN])
        mean, deviation = logit_normal(*states.cell_moments(shown))
        for cell, rate, spread in zip(
            shown.tolist(), mean.tolist(), np.sqrt(deviation).tolist(), strict=True
        ):
            figures[f"cell_mean/{self.book.label(cell)}"] = rate
            figures[f"cell_sd/{self.book.label(cell)}"] = spread
        return figures
