"""Belief models by name, and how BOTS tells one what was observed."""

from __future__ import annotations

from typing import Any

import numpy as np

from bots.belief.base import BeliefModel
from bots.belief.history import History
from bots.belief.prior import Prior
from bots.observation import Observation
from bots.pool import TaskPool
from bots.support.registry import load_class

BETA = "beta"
"""The paper's update, which is not a model of this kind: see `bots.belief.update`."""
BUILT_IN = {"state_space": "bots.belief.state_space.model:StateSpace"}


def make_belief(
    name: str, pool: TaskPool, prior: Prior, history: int, options: dict[str, Any]
) -> BeliefModel:
    """The belief model of that name for this pool.

    name: state_space, or "module:Class". options: keyword arguments of the class.
    Raises ValueError for an unknown name, options it does not take, or a pool that lacks what it needs.
    """
    cls = load_class("belief", name, {**BUILT_IN, BETA: BETA}, BeliefModel)  # type: ignore[type-abstract]
    try:
        return cls(pool, prior, history, **options)
    except TypeError as error:
        raise ValueError(f"belief {name!r}: {error}") from error


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
