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

from bots import TaskPool
from bots.belief.base import Belief
from bots.metrics import time_to_best
from bots.selection.base import SelectionRequest, Selector
from bots.selection.ranking import best, free_rows
from bots.simulation import Simulation, Trace, simulate
from bots.support.arrays import Float64, Rows
from pipelines.simulations.config import SimulationConfig, load_simulation

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


def train(config: SimulationConfig, arm: dict[str, Any], seed: int) -> Trace:
    """One run. arm: settings of `BOTS`."""
    simulation = Simulation(
        config.world,
        config.law,
        config.run.steps,
        config.selection.tasks,
        config.rollout.samples,
        evaluate_every=config.run.evaluate_every,
        options=arm,
    )
    if arm.get("selector") != KNOWN["selector"]:
        return simulate(simulation, seed)
    return simulate(
        simulation, seed, lambda learner: {"selector_options": {"pass_rates": learner.pass_rates}}
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8)
    seeds = range(parser.parse_args().seeds)
    config = load_simulation("configs/sim_lab.yaml")
    random = [train(config, ARMS["random"], seed).curve for seed in seeds]
    print(f"{'':24}{'ETR':>14}{'coverage':>10}{'last score':>12}{'steps':>8}")
    for name, arm in ARMS.items():
        runs = [train(config, arm, seed) for seed in seeds]
        etr = np.array([run.etr.mean() for run in runs])
        coverage = np.array([run.coverage[-1] for run in runs])
        reached = [time_to_best(run.curve, theirs, 1.0) for run, theirs in zip(runs, random, strict=True)]
        print(
            f"{name:24}{etr.mean():9.3f} ±{etr.std(ddof=1):.3f}{coverage.mean():10.3f}"
            f"{np.mean([run.curve.scores[-1] for run in runs]):12.3f}{np.exp(np.mean(np.log(reached))):8.2f}"
        )


if __name__ == "__main__":
    main()
