"""Belief models by name, and how BOTS tells one what was observed."""

from __future__ import annotations

from typing import Any

import numpy as np

from bots.belief.base import BeliefModel
from bots.belief.history import History
from bots.belief.prior import Prior
from bots.observation import Observation
from bots.pool import TaskPool
from bots.support import registry

BETA = "beta"
"""The paper's update, which is not a model of this kind: see `bots.belief.update`."""


def make_belief(
    name: str, pool: TaskPool, prior: Prior, history: int, options: dict[str, Any]
) -> BeliefModel:
    """The belief model of that name for this pool.

    name: state_space, or "module:Class". options: keyword arguments of the class.
    Raises ValueError for an unknown name, options it does not take, or a pool that lacks what it needs.
    """
    arguments = (pool, prior, history)
    return registry.make("belief", name, BeliefModel, arguments, options)  # type: ignore[type-abstract]


class Modelled:
    """Stands where `Posterior` stands for the Beta update: each (wave, task) pair reaches the model once."""

    def __init__(self, model: BeliefModel, history: History) -> None:
        self.model, self.history = model, history

    def new(self, observation: Observation) -> Observation:
        """The observation without the (wave, task) pairs that were already counted."""
        counted = self.history.at(observation.wave).observed
        return observation.only(~np.isin(observation.rows, counted, assume_unique=True))

    def update(self, observation: Observation) -> None:
        """Tell the model, and write down what was counted."""
        self.model.observe(observation)
        self.model.note(observation)
        record = self.history.at(observation.wave)
        self.history.clock = max(self.history.clock, observation.wave)
        record.counted = True
        record.observe(observation.rows)
        self.history.prune()
