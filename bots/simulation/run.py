"""One simulated training run: the real BOTS against the simulated learner."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bots.core import BOTS
from bots.metrics import Calibration, Curve, calibration
from bots.selection import DynamicFilter
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
    dynamic: Mapping[str, Any] | None = None
    """Keyword arguments of `DynamicFilter` other than batch: groups without signal are replaced. None: no filter."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.evaluate_every < 1 or self.delay < 0:
            raise ValueError("steps and evaluate_every must be at least 1, delay at least 0")
        if self.rollouts < 2:
            raise ValueError(f"rollouts is {self.rollouts}; a group's variance needs at least 2")
        if not 1 <= self.batch <= self.world.tasks:
            raise ValueError(
                f"batch is {self.batch}; it must be from 1 to the pool's {self.world.tasks} tasks"
            )
        if self.dynamic is not None:
            collected = DynamicFilter(self.batch, **self.dynamic)
            if collected.wanted() * collected.rounds > self.world.tasks:
                raise ValueError(
                    f"{collected.rounds} requests of {collected.wanted()} tasks are more than the pool's "
                    f"{self.world.tasks}; lower batch, or oversample or rounds of dynamic"
                )


@dataclass(frozen=True)
class Trace:
    """What happened. S steps; arrays are float64.

    curve: held-out score at the evaluated steps, the first at 0. etr: (S,) effective task ratio of all groups, with
    those that dynamic sampling left out. coverage: (S,) share of the pool's tasks selected at least once until then.
    signal: (S,) mean of 4·p(1−p) over their tasks, with the true p: 1 is a perfect batch. completions: (S,) in all
    groups.
    predicted, observed: (S, B) of the first B groups, the beliefs' means when they were selected, and the pass rates
    found. rollouts: int64 (S, B), their sizes. lam, rho, p_star: (S,) as used. belief_sd: (S,) mean standard deviation
    of the selected tasks' beliefs.
    """

    curve: Curve
    etr: Float64
    coverage: Float64
    signal: Float64
    predicted: Float64
    observed: Float64
    belief_sd: Float64
    lam: Float64
    rho: Float64
    p_star: Float64
    rollouts: npt.NDArray[np.int64]
    completions: Float64

    def on_completions(self) -> Curve:
        """The learning curve against the completions generated until then, which a filter or an allocation varies."""
        generated = np.concatenate([[0.0], np.cumsum(self.completions)])
        return Curve(generated[self.curve.at.astype(np.int64)], self.curve.scores)

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


def simulate(
    simulation: Simulation,
    seed: int,
    knowing: Callable[[SimulatedLearner], Mapping[str, Any]] = lambda _: {},
) -> Trace:
    """Run a simulation. Runs of one seed share world, residuals and anchors whatever the options: pair them by seed.

    knowing: further options from the learner itself, for a selector that knows what no posterior can.
    """
    world = World(simulation.world, seed)
    learner = SimulatedLearner(world, simulation.law, seed)
    bots = BOTS(world.pool, rollouts=simulation.rollouts, seed=seed, **simulation.options, **knowing(learner))
    size = (simulation.steps, simulation.batch)
    predicted, observed, sizes = np.empty(size), np.empty(size), np.empty(size, np.int64)
    etr, coverage, signal, sd, lam, rho, p_star, completions = np.empty((8, simulation.steps))
    seen = np.zeros(len(world.pool), np.bool_)
    at, scores = [0], [learner.score()]
    waiting: deque[tuple[int, list[Round]]] = deque()
    for step in range(simulation.steps):
        rounds = _roll_out(simulation, learner, bots, step)
        groups = [group for part in rounds for group in part.rewards]
        first = slice(simulation.batch)
        predicted[step] = np.concatenate([part.predicted for part in rounds])[first]
        sd[step] = np.concatenate([part.deviation for part in rounds]).mean()
        p = np.concatenate([part.p for part in rounds])
        signal[step] = 4 * np.mean(p * (1 - p))
        sizes[step] = [len(group) for group in groups[first]]
        completions[step] = sum(len(group) for group in groups)
        observed[step] = [group.mean() for group in groups[first]]
        etr[step] = np.mean([group.min() < group.max() for group in groups])
        seen[np.concatenate([part.rows for part in rounds])] = True
        coverage[step] = seen.mean()
        _learn(learner, rounds)
        if simulation.delay:
            waiting.append((step, rounds))
        if len(waiting) > simulation.delay:
            past, late = waiting.popleft()
            for part in late:
                bots.observe(part.rows, part.rewards, step=past)
        lam[step], rho[step], p_star[step] = bots.lam, bots.rho, bots.p_star
        if (step + 1) % simulation.evaluate_every == 0:
            at.append(step + 1)
            scores.append(learner.score())
    curve = Curve(np.array(at, np.float64), np.array(scores))
    return Trace(curve, etr, coverage, signal, predicted, observed, sd, lam, rho, p_star, sizes, completions)


@dataclass(frozen=True)
class Round:
    """One request of a step: rows (R,), their groups' rewards, and which are trained on, bool (R,).

    p: (R,), true pass rates. predicted, deviation: (R,), of the beliefs.
    """

    rows: Rows
    rewards: Float64 | list[Float64]
    kept: npt.NDArray[np.bool_]
    p: Float64
    predicted: Float64
    deviation: Float64


def _roll_out(simulation: Simulation, learner: SimulatedLearner, bots: BOTS, step: int) -> list[Round]:
    """The groups of one step; each request's are observed before the next is made, unless evidence comes late."""
    rounds: list[Round] = []
    batch = None if simulation.dynamic is None else DynamicFilter(simulation.batch, **simulation.dynamic)
    wanted = simulation.batch if batch is None else batch.wanted()
    while wanted:
        rows = bots.select(wanted, step, exclude=() if batch is None else batch.seen)
        beliefs = learner.pass_rates(rows), bots.predict_mean(rows), bots.predict_deviation(rows)
        rewards = _sample(learner, bots, rows)
        kept = np.ones(len(rows), np.bool_) if batch is None else batch.add(rows, list(rewards))
        rounds.append(Round(rows, rewards, kept, *beliefs))
        if not simulation.delay:
            bots.observe(rows, rewards, step=step)
        wanted = 0 if batch is None else batch.wanted()
    return rounds


def _learn(learner: SimulatedLearner, rounds: list[Round]) -> None:
    """Train on the groups that were kept; if none was, on the first request's, which teach nothing."""
    if (len(rounds) == 1 and rounds[0].kept.all()) or not any(part.kept.any() for part in rounds):
        learner.learn(rounds[0].rows, rounds[0].rewards)
        return
    rows = np.concatenate([part.rows[part.kept] for part in rounds])
    kept = [group for part in rounds for group, keep in zip(part.rewards, part.kept, strict=True) if keep]
    learner.learn(rows, as_batch(kept))


def _sample(learner: SimulatedLearner, bots: BOTS, rows: Rows) -> Float64 | list[Float64]:
    """The wave's rewards, with as many completions of each task as the allocation wants."""
    rewards = learner.generate(rows, bots.allocate(rows))
    if not bots.allocator.staged:
        return rewards
    groups = list(rewards)
    waiting = np.arange(len(rows))
    while True:
        more = np.array([bots.allocator.more(groups[place]) for place in waiting])
        waiting, more = waiting[more > 0], more[more > 0]
        if not len(waiting):
            break
        for place, group in zip(waiting, learner.generate(rows[waiting], more), strict=True):
            groups[place] = np.append(groups[place], group)
    return as_batch(groups)
