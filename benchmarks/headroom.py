"""How much better could selection be? The simulated lab with a selector that knows every task's true pass rate.

    python -m benchmarks.headroom --seeds 8

Prints for each arm the effective task ratio, the coverage (share of the pool selected at least once), the last held-out
score, and the steps to random selection's best score as a share of random's (geometric mean). The law by which this
policy learns counts what a batch teaches by the variance of its rewards, and gains as much from few tasks as from many.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from bots import BOTS, TaskPool
from bots.belief.base import Belief
from bots.metrics import Curve, time_to_best
from bots.selection.base import SelectionRequest, Selector
from bots.selection.ranking import best, free_rows
from bots.simulation.learner import SimulatedLearner
from bots.simulation.world import World
from bots.support.arrays import Float64, Rows
from pipelines.simulations.config import SimulationConfig, load_simulation

STEPS, EVALUATE_EVERY = 150, 10
KNOWN: dict[str, Any] = {"selector": "benchmarks.headroom:Known", "belief": "beta"}
ARMS: dict[str, dict[str, Any]] = {
    "random": {"selector": "random"},
    "bots": {"adaptor": None},
    "bots self-tuned": {"prior": (1, 1)},
    "default": {},
    "state space": {"belief": "state_space"},
    **{f"known, cool-down {steps}": {**KNOWN, "cooldown": steps} for steps in (0, 15, 20, 25, 30)},
}


class Known(Selector):
    """Takes the tasks whose true pass rates are nearest to p*. pass_rates: rows (R,) to float64 (R,), at this step."""

    def __init__(self, pool: TaskPool, pass_rates: Callable[[Rows], Float64]) -> None:
        super().__init__(pool)
        self.pass_rates = pass_rates

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        rows = free_rows(beliefs, request)
        return best(rows, -np.abs(self.pass_rates(rows) - request.p_star), request.batch, rng)


def train(config: SimulationConfig, arm: dict[str, Any], seed: int) -> tuple[float, float, Curve]:
    """The effective task ratio, the coverage and the learning curve of one run. arm: settings of `BOTS`."""
    world = World(config.world, seed)
    learner = SimulatedLearner(world, config.law, seed)
    if arm.get("selector") == KNOWN["selector"]:
        arm = {**arm, "selector_options": {"pass_rates": learner.pass_rates}}
    bots = BOTS(world.pool, rollouts=config.rollout.samples, seed=seed, **arm)
    seen, effective, at, scores = np.zeros(config.world.tasks, np.bool_), [], [0], [learner.score()]
    for step in range(STEPS):
        rows = bots.select(config.selection.tasks, step)
        rewards = learner.generate(rows, config.rollout.samples)
        effective.append(np.mean([group.min() < group.max() for group in rewards]))
        learner.learn(rows, rewards)
        bots.observe(rows, rewards, step=step)
        seen[rows] = True
        if (step + 1) % EVALUATE_EVERY == 0:
            at.append(step + 1)
            scores.append(learner.score())
    return float(np.mean(effective)), float(seen.mean()), Curve(np.array(at, float), np.array(scores))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8)
    seeds = range(parser.parse_args().seeds)
    config = load_simulation("configs/sim_lab.yaml")
    random = [train(config, ARMS["random"], seed)[2] for seed in seeds]
    print(f"{'':24}{'ETR':>14}{'coverage':>10}{'last score':>12}{'steps':>8}")
    for name, arm in ARMS.items():
        runs = [train(config, arm, seed) for seed in seeds]
        etr, coverage = (np.array([run[k] for run in runs]) for k in range(2))
        reached = [time_to_best(run[2], theirs, 1.0) for run, theirs in zip(runs, random, strict=True)]
        print(
            f"{name:24}{etr.mean():9.3f} ±{etr.std(ddof=1):.3f}{coverage.mean():10.3f}"
            f"{np.mean([run[2].scores[-1] for run in runs]):12.3f}{np.exp(np.mean(np.log(reached))):8.2f}"
        )


if __name__ == "__main__":
    main()
