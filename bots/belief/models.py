"""Belief models by name, and the object through which BOTS updates one."""

from __future__ import annotations

from typing import Any

import numpy as np

from bots.belief.base import BeliefModel
from bots.belief.columns import Beliefs
from bots.belief.history import History
from bots.belief.prior import Prior
from bots.belief.update import Posterior
from bots.evidence.base import Evidence
from bots.pool import TaskPool
from bots.settings import BETA
from bots.support import registry
from bots.support.observation import Observation


def make_belief(
    name: str, pool: TaskPool, prior: Prior, history: int, options: dict[str, Any]
) -> BeliefModel:
    """The belief model of that name for this pool.

    name: listed in `bots.support.registry`, or "module:Class". options: keyword arguments of the class.
    Raises ValueError for an unknown name, options it does not take, or a pool that lacks what it needs.
    """
    arguments = (pool, prior, history)
    return registry.make("belief", name, BeliefModel, arguments, options)  # type: ignore[type-abstract]


class Modelled:
    """Takes the place of `Posterior` for a belief model: each (wave, task) pair reaches the model once."""

    def __init__(self, model: BeliefModel, history: History) -> None:
        self.beliefs, self.history = model, history

    def new(self, observation: Observation) -> Observation:
        """The observation without the (wave, task) pairs that were already counted."""
        counted = self.history.at(observation.wave).observed
        return observation.only(~np.isin(observation.rows, counted, assume_unique=True))

    def update(self, observation: Observation, lam: float, rho: float) -> None:
        """Pass a new observation to the model and record it. A model has no λ and ρ."""
        self.beliefs.observe(observation)
        self.beliefs.note(observation)
        record = self.history.at(observation.wave)
        self.history.clock = max(self.history.clock, observation.wave)
        record.counted = True
        record.observe(observation.rows)
        self.history.prune()


def make_posterior(
    pool: TaskPool,
    prior: Prior,
    evidence: Evidence | None,
    history: History,
    belief: str,
    options: dict[str, Any],
    forgetting: str,
    threads: int | None,
) -> Posterior | Modelled:
    """The beliefs called `belief`, at their prior, with what updates them; arguments as in `bots.BOTS`."""
    if belief == BETA:  # no `BeliefModel`: see `bots.belief.update`
        return Posterior(Beliefs(pool, prior), evidence, history, forgetting, threads)
    return Modelled(make_belief(belief, pool, prior, history.window, options), history)
