"""The estimate finds the law that made the data, and refuses what holds no information."""

import numpy as np
import pytest

from bots import BOTS
from bots.simulation import Law, SimulatedLearner, World, WorldSpec
from bots.simulation.fit import FittedTasks, RewardHistory, fit

LEVELS = {"math": list(np.linspace(-4, 4, 9)), "logic": list(np.linspace(-3, 5, 9))}
TRUE = Law(rate=0.3, transfer=2.0, across=0.3, own=0.6, forgetting=0.004, residual=0.8, warmup=5)
WORLD = WorldSpec(
    tasks=600,
    domains={"math": 1, "logic": 1},
    levels=LEVELS,
    difficulty_sd=0.5,
    discrimination_sd=0.0,
    weak=-1.0,
    strong=1.5,
    anchor_residual=0.8,
)


def recorded(law, selector, seed=0, steps=60):
    """A run's groups by the simulated learner, with the cells of its tasks."""
    world = World(WORLD, seed)
    learner = SimulatedLearner(world, law, seed)
    bots = BOTS(world.pool, rollouts=8, seed=seed, selector=selector, adaptor=None)
    step, task, rewards = [], [], []
    for number in range(steps):
        rows = bots.select(32)
        graded = learner.generate(rows, 8)
        bots.observe(rows, graded)
        learner.learn(rows, graded)
        step += [number] * 32
        task += rows.tolist()
        rewards += graded.tolist()
    # The levels were drawn inside the world; the nearest one is right for all but a few tasks.
    flat = np.concatenate(list(LEVELS.values()))
    mean = np.where(world.train.domain[:, None] == np.repeat([0, 1], 9), flat, np.inf)
    cell = np.argmin(np.abs(world.train.difficulty[:, None] - mean), axis=1)
    weak, strong = (np.asarray(column, np.float64) for column in (world.pool.weak, world.pool.strong))
    tasks = FittedTasks(["math", "logic"], np.repeat([0, 1], 9), cell, weak, strong, 16)
    return tasks, RewardHistory(np.array(step), np.array(task), np.array(rewards), law.warmup)


def gain(law):
    """Mean ability that 100 perfect batches in the middle would give: what the law comes to."""
    learner = SimulatedLearner(World(WORLD, 0), law, 0)
    middle = np.argsort(np.abs(learner.train.difficulty - learner.train.difficulty.mean()))[:32]
    for _ in range(100):
        learner.learn(middle, np.tile([0.0, 1.0], (32, 4)))
    return learner.ability.mean()


def test_the_law_that_made_the_data_is_found():
    tasks, one = recorded(TRUE, "bots")
    _, two = recorded(TRUE, "random")
    found = fit(tasks, [one, two])
    assert gain(found.law) == pytest.approx(gain(TRUE), rel=0.2)
    assert found.law.residual == pytest.approx(TRUE.residual, abs=0.25)
    assert found.law.own == pytest.approx(TRUE.own, abs=0.35)
    assert found.world.weak["math"] == pytest.approx(-1.0, abs=0.35)
    assert found.world.strong["logic"] == pytest.approx(1.5, abs=0.35)
    assert np.corrcoef(found.world.levels["math"], LEVELS["math"])[0, 1] > 0.98
    assert found.world.tasks == 600
    assert found.law.warmup == TRUE.warmup


def test_a_policy_that_learns_nothing_is_seen_not_to_learn():
    tasks, groups = recorded(Law(rate=0.0, own=0.0, residual=0.8), "bots")
    found = fit(tasks, [groups])
    assert gain(found.law) < 0.15 * gain(TRUE)
    assert found.law.own < 0.3


def test_nothing_to_fit_is_refused():
    tasks, groups = recorded(TRUE, "random", steps=3)
    with pytest.raises(ValueError, match="nothing to fit"):
        fit(tasks, [])
    with pytest.raises(ValueError, match="n ≥ 2"):
        fit(tasks, [RewardHistory(groups.step, groups.task, groups.rewards[:, :1], 0)])
