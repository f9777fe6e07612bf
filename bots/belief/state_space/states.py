"""The filter's state vector: cells, coefficients of features, drifts; and how training moves it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bots.belief.prior import Prior
from bots.belief.state_space.cells import Cells
from bots.belief.state_space.codebook import Codebook
from bots.belief.state_space.filter import Conditioned, add_noise, condition, shifts
from bots.belief.state_space.kernels import add_traits
from bots.belief.state_space.logits import prior_logit, trigamma
from bots.belief.state_space.options import Options
from bots.belief.state_space.tasks import Residuals
from bots.support.arrays import Float64, Rows
from bots.support.observation import Observation

DRIFTS = ("cell", "near", "domain", "pool", "task")
"""How many logits full signal of a whole batch moves its cell, neighbouring levels, its domain and everything; and how
many a quarter of full signal moves the task itself."""
DRIFT_MEAN = np.array([0.2, 0.0, 0.0, 0.0, 0.0])
DRIFT_DEVIATION = np.array([1.0, 0.3, 0.3, 0.2, 0.5])
DRIFT_NOISE = 1e-4
"""Share of a coefficient's prior variance that it gains in a step."""
FEATURE_DEVIATION, BY_DOMAIN_DEVIATION, UNKNOWN_DEVIATION = 1.5, 0.5, 1.0
EMBEDDING_DEVIATION, EMBEDDING_ALONE_DEVIATION = 0.75, 2.0
"""Of coefficients of components whose squares add up to 1 on average: beside cells within domains or other features,
and where nothing else tells a domain's tasks apart. Half of it for coefficients of each domain's own."""
MOST_OF_EMBEDDINGS = 128
"""Coefficients of embeddings by domain; if there were more, embeddings have shared ones alone."""
MOST_DOMAINS = 8
"""Domains up to which each feature has a coefficient of each domain's own beside the shared one."""
SHOCK_GROUPS = 4
"""Groups that a shift must be common to before it counts as a shock."""
LARGEST_SPREAD = 100.0
"""A prior of nearly no mass gives cells at most so many times the variance of the uniform one."""
EXTREME = 6.0
"""Logit, in either direction, beyond which what is trained elsewhere moves a cell less and less."""
LARGEST_SHOCK = 25.0
"""Most variance that one shock adds."""


class Moment(dict[str, Float64]):
    """mean, root, deviation, variance of one moment, and the number of shocks until then."""


class Drawn(NamedTuple):
    """D draws. states: float64 (d, D). deviation: (C, D), of cells."""

    states: Float64
    deviation: Float64


class Away(NamedTuple):
    """D draws minus the mean. cells: float64 (C, D), logits. traits: (domains + 1, F, D), coefficients by domain."""

    cells: Float64
    traits: Float64


class States:
    """x = (cells, coefficients, drifts) with mean (d,) and root (d, d), at the beginning of a step.

    Arrays are replaced, never written to, so that a `Moment` costs nothing.
    """

    def __init__(self, book: Codebook, prior: Prior, options: Options) -> None:
        self.book, self.options = book, options
        spread, self._domain_base = _prior_logits(prior, options.spread)
        self.cells = Cells(book, spread, options.reach)
        self._flagged = book.unknown.any(axis=0)
        self._domains = int(book.cells[:, 0].max()) + 1
        if not 2 <= self._domains <= MOST_DOMAINS:
            self._domains = 0
        deviations, means = [], []
        for name in book.feature_names:
            is_prior = name == "prior"
            deviations.append(0.1 * book.scale(name)[1] if is_prior else FEATURE_DEVIATION)
            means.append(book.scale(name)[1] if is_prior else 0.0)
        deviations += [UNKNOWN_DEVIATION] * int(self._flagged.sum())
        means += [0.0] * (len(deviations) - len(means))
        embedded = book.embedded.shape[1]
        # Coefficients of each domain's own: of embeddings too, unless there would be too many.
        self._own = len(deviations) + (embedded if embedded * self._domains <= MOST_OF_EMBEDDINGS else 0)
        alone = len(book.columns) == 1 and not book.feature_names
        deviation = EMBEDDING_ALONE_DEVIATION if alone else EMBEDDING_DEVIATION
        own = [BY_DOMAIN_DEVIATION] * len(deviations) + [deviation / 2] * embedded
        deviations += [deviation] * embedded
        means += [0.0] * embedded
        self._features = len(deviations)
        both = np.array([*deviations, *(own[: self._own] * self._domains), *DRIFT_DEVIATION])
        size = self.cells.size
        self.mean = np.concatenate([np.zeros(size), means, np.zeros(self._own * self._domains), DRIFT_MEAN])
        self.root = np.zeros((len(self.mean), len(self.mean)))
        self.root[:size, :size] = self.cells.prior_root()
        self.root[size:, size:] = np.diag(both)
        self._coefficient_noise = DRIFT_NOISE * both**2
        self.shocks = 0
        self._prepare()

    def _prepare(self) -> None:
        """What follows from the codebook."""
        book = self.book
        domains = book.cells[:, 0]
        base = self._domain_base
        self.base = base[np.minimum(domains, len(base) - 1)]
        if "prior" in book.feature_names:
            self.base = np.full(len(domains), book.scale("prior")[0])
        unknown = book.unknown[:, self._flagged].astype(np.float64)
        self.traits = np.concatenate([book.values, unknown, book.embedded], axis=1)

    @property
    def drift(self) -> int:
        """Index of the first drift in the state."""
        return len(self.mean) - len(DRIFTS)

    def snapshot(self) -> Moment:
        """The present moment."""
        return Moment(
            mean=self.mean,
            root=self.root,
            deviation=self.cells.deviation,
            variance=self.cells.variance,
            shocks=np.array(float(self.shocks)),
        )

    def go_back(self, moment: Moment) -> None:
        """Return to a moment."""
        self.mean, self.root = moment["mean"], moment["root"]
        self.cells.deviation, self.cells.variance = moment["deviation"], moment["variance"]
        self.shocks = int(moment.get("shocks", self.shocks))  # an older snapshot's moments lack it

    def design(self, strata: Rows, trained: Float64) -> Float64:
        """Rows of H, float64 (N, d): what the states add to the logit of tasks of these strata."""
        size, width = self.cells.size, self._features
        design = np.zeros((len(strata), len(self.mean)))
        design[:, :size] = self.cells.loadings[self.book.cell[strata]]
        design[:, size : size + width] = self.traits[strata]
        for domain in range(self._domains):
            rows = np.flatnonzero(self.book.domain[strata] == domain)
            start = size + width + self._own * domain
            design[rows, start : start + self._own] = self.traits[strata[rows], : self._own]
        design[:, -1] = trained
        return design

    def logits(self, states: Float64, deviation: Float64) -> Float64:
        """Logit of each stratum, without a task's own, for given states and deviations of cells: float64 (S,)."""
        logit: Float64 = self._cell_logits(states, deviation)[self.book.cell]
        if self._features:
            add_traits(logit, self.traits, self._by_domain(states), self.book.domain)
        return logit

    def _cell_logits(self, states: Float64, deviation: Float64) -> Float64:
        """Logit of each cell, without features: float64 (C,)."""
        size = self.cells.size
        if self.cells.dense and len(self.cells.loadings) == size:
            logit: Float64 = self.base + states[:size] + deviation
        else:
            logit = self.base + self.cells.loadings @ states[:size] + deviation
        return logit

    def draw(self, rng: np.random.Generator, draws: int) -> Drawn:
        """Independent draws from the belief."""
        states = self.mean[:, None] + self.root @ rng.standard_normal((self.root.shape[1], draws))
        deviation = np.repeat(self.cells.deviation[:, None], draws, axis=1)
        if self.cells.variance.any():
            spread = np.sqrt(self.cells.variance)[:, None]
            deviation += spread * rng.standard_normal(deviation.shape)
        return Drawn(states, deviation)

    def away(self, drawn: Drawn) -> Away:
        """How far draws lie from the mean."""
        size = self.cells.size
        states = drawn.states - self.mean[:, None]
        if self.cells.dense and len(self.cells.loadings) == size:
            cells = states[:size]
        else:
            cells = self.cells.loadings @ states[:size]
        cells = cells + (drawn.deviation - self.cells.deviation[:, None])
        return Away(cells, np.ascontiguousarray(np.moveaxis(self._by_domain(states.T), 0, 2)))

    def _by_domain(self, states: Float64) -> Float64:
        """From states (…, d) the coefficients of each domain, (…, domains + 1, F), the last without a domain's own."""
        size, width = self.cells.size, self._features
        each = np.repeat(states[..., None, size : size + width], self._domains + 1, axis=-2)
        own = states[..., size + width : self.drift]
        each[..., :-1, : self._own] += own.reshape(*own.shape[:-1], self._domains, self._own)
        return each

    def cell_variance(self) -> Float64:
        """Variance of each cell's logit, float64 (C,). O(C·d), and O(C·d²) in the low-rank form."""
        size = self.cells.size
        if self.cells.dense and len(self.cells.loadings) == size:
            spread = self.root[:size]
        else:
            spread = self.cells.loadings @ self.root[:size]
        variance: Float64 = np.einsum("ij,ij->i", spread, spread) + self.cells.variance
        return variance

    def cell_moments(self, cells: Rows) -> tuple[Float64, Float64]:
        """Mean and variance of these cells' logits: float64 (N,) each."""
        size, loadings = self.cells.size, self.cells.loadings[cells]
        mean = self.base[cells] + loadings @ self.mean[:size] + self.cells.deviation[cells]
        variance = ((loadings @ self.root[:size]) ** 2).sum(axis=1) + self.cells.variance[cells]
        return mean, variance

    def marginals(self, strata: Rows, trained: Float64) -> tuple[Float64, Float64]:
        """Mean and variance of the shared part of these tasks' logits: float64 (N,) each."""
        mean, variance = np.empty(len(strata)), np.empty(len(strata))
        for start in range(0, len(strata), 4096):
            part = slice(start, start + 4096)
            design = self.design(strata[part], trained[part])
            cells = self.book.cell[strata[part]]
            mean[part] = design @ self.mean + self.base[cells] + self.cells.deviation[cells]
            variance[part] = ((design @ self.root) ** 2).sum(axis=1) + self.cells.variance[cells]
        return mean, variance

    def learn(self, strata: Rows, batch: Observation, own: Residuals) -> Conditioned:
        """Condition on a batch; the groups' residuals are the caller's to keep."""
        cell = self.book.cell[strata]
        loose = np.unique(cell[self.cells.variance[cell] > 0])
        design = self.design(strata, own.trained)
        size = len(self.mean)
        mean, root = self.mean, self.root
        if len(loose):
            design = np.concatenate([design, (cell[:, None] == loose[None]).astype(np.float64)], axis=1)
            mean = np.concatenate([mean, self.cells.deviation[loose]])
            wide = np.zeros((len(mean), len(mean)))
            wide[:size, :size] = root
            wide[size:, size:] = np.diag(np.sqrt(self.cells.variance[loose]))
            root = wide
        offset = self.base[cell] + own.mean
        evidence = (offset, own.variance, batch.successes, batch.rollouts)
        posterior = condition(mean, root, design, *evidence)
        if shocks := self._shocks(mean, root, design, strata, posterior, batch, own, offset):
            self.shocks += len(shocks)
            root = add_noise(root, np.zeros(len(root)), *shocks)
            posterior = condition(mean, root, design, *evidence)
        self.mean, self.root = posterior.mean[:size], posterior.root[:size]
        if len(loose):
            self.cells.deviation, self.cells.variance = (
                self.cells.deviation.copy(),
                self.cells.variance.copy(),
            )
            self.cells.deviation[loose] = posterior.mean[size:]
            self.cells.variance[loose] = np.maximum((posterior.root[size:] ** 2).sum(axis=1), 1e-12)
        return posterior

    def _shocks(
        self,
        mean: Float64,
        root: Float64,
        design: Float64,
        strata: Rows,
        posterior: Conditioned,
        batch: Observation,
        own: Residuals,
        offset: Float64,
    ) -> list[Float64]:
        """Directions in which the whole pool, or else single domains, moved beyond what was believed possible."""
        domain, domains = self.book.domain[strata], self.book.cells[:, 0]
        present, sizes = np.unique(domain, return_counts=True)
        present = present[sizes >= SHOCK_GROUPS]
        if len(strata) < SHOCK_GROUPS:
            return []
        # First everything, then each domain.
        common = np.column_stack([np.ones(len(strata)), domain[:, None] == present])
        cells = np.column_stack([np.ones(len(domains)), domains[:, None] == present])
        start = design @ mean + offset
        excess = shifts(root, design, own.variance, common, posterior, start, batch.successes, batch.rollouts)
        found = [0] if excess[0] > 0 else np.flatnonzero(excess).tolist()
        if not found:
            return []
        directions = np.zeros((len(mean), len(found)))
        directions[: self.cells.size] = self.cells.onto_states(cells[:, found])
        return list((directions * np.sqrt(np.minimum(excess[found], LARGEST_SHOCK))).T)

    def move(self, strata: Rows, signal: Float64) -> None:
        """One step of training on groups of these strata. signal: 4·variance of their rewards, float64 (B,)."""
        cells = self.cells
        count = len(cells.loadings)
        at = np.bincount(self.book.cell[strata], signal, count) / len(signal)
        active = np.flatnonzero(at)
        domains = self.book.cells[:, 0]
        movement = np.zeros((count, 4))
        movement[:, 1] = cells.near(active) @ at[active]
        movement[:, 2] = np.bincount(domains, at)[domains]
        movement[:, 3] = at.sum()
        movement *= self._room(movement)[:, None]
        onto = cells.onto_states(movement)
        if cells.dense:
            onto[:, 0] = at[: cells.size]
        drift = slice(self.drift, self.drift + 4)
        size = cells.size
        mean, root = self.mean.copy(), self.root.copy()
        mean[:size] += onto @ mean[drift]
        root[:size] += onto @ root[drift]
        noise = np.zeros(len(mean))
        if cells.dense:
            noise[:size] = self.options.signal_noise * at[:size]
        loose = np.flatnonzero((cells.variance > 0) & (at > 0))
        if len(loose):
            cells.deviation, cells.variance = cells.deviation.copy(), cells.variance.copy()
            cells.deviation[loose] += self.mean[drift][0] * at[loose]
            uncertain = float((self.root[self.drift] ** 2).sum())
            cells.variance[loose] += uncertain * at[loose] ** 2 + self.options.signal_noise * at[loose]
        self.mean, self.root = mean, root
        self.pass_time(1, noise)

    def _room(self, movement: Float64) -> Float64:
        """Factor of how far training elsewhere moves each cell, float64 (C,): below 1 where it leads beyond `EXTREME`.

        Rewards hardly tell such pass rates apart. Where nobody asks, a small error of a drift would add up, step after
        step, to a certainty that a later draw never doubts.
        """
        logit = self._cell_logits(self.mean, self.cells.deviation)
        outward = np.sign(movement @ self.mean[self.drift : self.drift + 4]) * logit
        room: Float64 = np.exp(np.minimum(EXTREME - outward, 0.0))
        return room

    def pass_time(self, steps: int, noise: Float64 | None = None) -> None:
        """What `steps` steps make uncertain, whatever was trained, and `noise` (d,) more."""
        cells = self.cells
        diagonal = np.zeros(len(self.mean)) if noise is None else noise.copy()
        each = self.options.noise
        diagonal[: cells.size] += steps * (each if cells.dense else each / cells.spread)
        diagonal[cells.size :] += steps * self._coefficient_noise
        self.root = add_noise(self.root, diagonal)
        cells.variance = np.where(cells.variance > 0, cells.variance + steps * each, 0.0)

    def grow(self) -> None:
        """The codebook has new cells and strata."""
        self.cells.grow()
        self._prepare()

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return {
            **self.snapshot(),
            "flagged": self._flagged,
            "domains": self._domains,
            "noise": self._coefficient_noise,
            "cells": self.cells.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self._flagged = np.array(state["flagged"], bool)
        self._domains = int(state["domains"])
        plain, embedded = len(self.book.feature_names) + int(self._flagged.sum()), self.book.embedded.shape[1]
        self._features = plain + embedded
        self._own = plain + (embedded if embedded * self._domains <= MOST_OF_EMBEDDINGS else 0)
        self._coefficient_noise = state["noise"]
        self.cells.load_state_dict(state["cells"])
        self.go_back(Moment({name: state[name] for name in self.snapshot()}))
        self._prepare()


def _prior_logits(prior: Prior, spread: float) -> tuple[float, Float64]:
    """Prior variance of cells, and the prior mean of the logit by domain (one where it is the same for all)."""
    tables = (prior.table_alpha, prior.table_beta)
    if prior.kind == 2:
        tables = (prior.task_alpha.astype(np.float64), prior.task_beta.astype(np.float64))
    uncertain = float(np.mean(trigamma(tables[0]) + trigamma(tables[1])))
    uniform = 2 * float(trigamma(np.ones(1))[0])
    most = LARGEST_SPREAD * max(spread, 1.0)
    return min(spread * uncertain / uniform, most), prior_logit(prior.table_alpha, prior.table_beta)
