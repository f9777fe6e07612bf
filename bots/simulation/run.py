"""One simulated training run: the real BOTS against the simulated learner."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bots.core import BOTS
from bots.metrics import Calibration, Curve, calibration
from bots.simulation.learner import Law, SimulatedLearner
from bots.simulation.world import World, WorldSpec
from bots.support.arrays import Float64, Rows, as_batch


@dataclass(frozen=True)
class Simulation:
    """A run to simulate. world, law: see there; `options` go to `BOTS` (p_star, lam, rho, selector, …)."""

    world: WorldSpec = field(default_factory=WorldSpec)
    law: Law = field(default_factory=Law)
    steps: int = 1_000
    """Training steps."""
    batch: int = 32
    """Tasks a step."""
    rollouts: int = 16
    """n ≥ 2."""
    delay: int = 0
    """Steps after which the posterior observes a batch (the policy learns from it at once)."""
    evaluate_every: int = 20
    """Steps between evaluations."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `BOTS` other than pool, rollouts and seed."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.evaluate_every < 1 or self.delay < 0:
            raise ValueError("steps and evaluate_every must be at least 1, delay at least 0")
        if self.rollouts < 2:
            raise ValueError(f"rollouts is {self.rollouts}; a group's variance needs at least 2")
        if not 1 <= self.batch <= self.world.tasks:
            raise ValueError(
                f"batch is {self.batch}; it must be from 1 to the pool's {self.world.tasks} tasks"
            )


@dataclass(frozen=True)
class Trace:
    """What happened. S steps; arrays are float64.

    curve: held-out score at the evaluated steps, the first at 0. etr: (S,) effective task ratio.
    signal: (S,) mean of 4·p(1−p) over the batch, with the true p: 1 is a perfect batch.
    predicted, observed: (S, B) the beliefs' means when the batch was selected, and the pass rates found.
    rollouts: int64 (S, B), sizes of the groups. lam, rho, p_star: (S,) as used. belief_sd: (S,) mean standard
    deviation of the selected tasks' beliefs.
    """

    curve: Curve
    etr: Float64
    signal: Float64
    predicted: Float64
    observed: Float64
    belief_sd: Float64
    lam: Float64
    rho: Float64
    p_star: Float64
    rollouts: npt.NDArray[np.int64]

    def calibration(self, start: int = 0) -> Calibration:
        """Of the one-step-ahead predictions from step `start` on."""
        return calibration(self.predicted[start:].ravel(), self.observed[start:].ravel())

    def overconfidence(self) -> float:
        """Root-mean-square error of the predictions over the beliefs' own standard deviation; 1 is honest.

        The sampling noise of n binary rewards is taken out of the error (of fractional ones, too much).
        """
        error = (self.predicted - self.observed) ** 2
        noise = self.observed * (1 - self.observed) / (self.rollouts - 1)
        return float(np.sqrt(max(0.0, float(np.mean(error - noise)))) / self.belief_sd.mean())


def simulate(simulation: Simulation, seed: int) -> Trace:
    """Run a simulation. Runs of one seed share world, residuals and anchors whatever the options: pair them by seed."""
    world = World(simulation.world, seed)
    learner = SimulatedLearner(world, simulation.law, seed)
    bots = BOTS(world.pool, rollouts=simulation.rollouts, seed=seed, **simulation.options)
    size = (simulation.steps, simulation.batch)
    predicted, observed, sizes = np.empty(size), np.empty(size), np.empty(size, np.int64)
    etr, signal, sd, lam, rho, p_star = np.empty((6, simulation.steps))
    at, scores = [0], [learner.score()]
    waiting: deque[tuple[int, Rows, Float64 | list[Float64]]] = deque()
    for step in range(simulation.steps):
        rows = bots.select(simulation.batch)
        predicted[step] = bots.predict_mean(rows)
        sd[step] = bots.predict_deviation(rows).mean()
        p = learner.pass_rates(rows)
        signal[step] = 4 * np.mean(p * (1 - p))
        rewards = _sample(learner, bots, rows)
        sizes[step] = [len(group) for group in rewards]
        observed[step] = [group.mean() for group in rewards]
        etr[step] = np.mean([group.min() < group.max() for group in rewards])
        learner.learn(rows, rewards)
        waiting.append((step, rows, rewards))
        if len(waiting) > simulation.delay:
            past, rows, rewards = waiting.popleft()
            bots.observe(rows, rewards, step=past)
        lam[step], rho[step], p_star[step] = bots.lam, bots.rho, bots.p_star
        if (step + 1) % simulation.evaluate_every == 0:
            at.append(step + 1)
            scores.append(learner.score())
    curve = Curve(np.array(at, np.float64), np.array(scores))
    return Trace(curve, etr, signal, predicted, observed, sd, lam, rho, p_star, sizes)


def _sample(learner: SimulatedLearner, bots: BOTS, rows: Rows) -> Float64 | list[Float64]:
    """The wave's rewards, with as many completions of each task as the allocation wants."""
    rewards = learner.answer(rows, bots.allocate(rows))
    if not bots.allocator.staged:
        return rewards
    groups = list(rewards)
    waiting = np.arange(len(rows))
    while True:
        more = np.array([bots.allocator.more(groups[place]) for place in waiting])
        waiting, more = waiting[more > 0], more[more > 0]
        if not len(waiting):
            break
        for place, group in zip(waiting, learner.answer(rows[waiting], more), strict=True):
            groups[place] = np.append(groups[place], group)
    return as_batch(groups)
