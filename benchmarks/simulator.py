"""Speed of the simulator: seconds for 1,000 steps on a pool of 10,000 tasks, with the real posterior and selector.

    python -m benchmarks.simulator [--steps 1000] [--tasks 10000] [--repeats 5]

Each line is the best and the median of the repeats, after a short run that compiles or loads the kernels. Setup is
included; imports are not.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

from bots.simulation import Law, Simulation, WorldSpec, simulate

ARMS: dict[str, dict[str, Any]] = {
    "random": {"selector": "random"},
    "bots": {},
    "greedy": {"selector": "greedy"},
    "item_response": {"evidence": "item_response"},
    "self-tuned": {"adaptor": "predictive"},
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(f"{args.steps:,} steps of 32 x 16 rollouts on {args.tasks:,} tasks, seconds")
    print(f"{'arm':15}{'best':>8}{'median':>8}{'steps/s':>9}")
    for name, options in ARMS.items():
        simulate(Simulation(WorldSpec(tasks=args.tasks), Law(), 20, options=options), 0)
        simulation = Simulation(WorldSpec(tasks=args.tasks), Law(), args.steps, options=options)
        seconds = []
        for seed in range(args.repeats):
            started = time.perf_counter()
            simulate(simulation, seed)
            seconds.append(time.perf_counter() - started)
        print(
            f"{name:15}{min(seconds):8.2f}{median(seconds):8.2f}{args.steps / median(seconds):9.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
