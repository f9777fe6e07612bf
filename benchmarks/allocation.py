"""What an allocation gains at an equal number of completions, with a policy trained by real policy gradients.

    python -m benchmarks.allocation [seeds] [learning rate]

The simulator cannot tell allocations apart: it moves a task by the variance of its rewards, whose expectation does not
depend on n. Here every completion is drawn and its gradient computed. The policy has success probability p_k = σ(w·x_k
+ d_k) on task k, with features x_k (three of 32 skills, and noise) and difficulty d_k. For a completion with reward r,
∂ log π/∂w = (r - p_k)·x_k. Advantages are GRPO's and the optimizer is Adam, so noise in a gradient costs steps.

Every arm has the same tasks, spends the same number of completions, and is compared with `even` of the same selector,
paired by seed. `even (n/2)` shows the gain from smaller groups alone, i.e. more steps. Reported: steps, ETR, largest
group, mean score of the learning curve over completions, last score.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from bots import BOTS, TaskPool
from bots.learning.advantages import group_normalised
from bots.metrics.intervals import mean_interval, paired_difference

TASKS, HELD_OUT, FEATURES, BATCH, ROLLOUTS, STEPS = 600, 1000, 32, 16, 8, 300
ALLOCATIONS: dict[str, dict[str, Any]] = {
    "even": {},
    "even (n/2)": {"rollouts": ROLLOUTS // 2},
    "knapsack": {"allocation": "knapsack"},
    "signal (deviation)": {"allocation": "signal"},
    "signal (variance)": {"allocation": "signal", "allocation_options": {"measure": "variance"}},
    "signal (mixed)": {"allocation": "signal", "allocation_options": {"measure": "mixed"}},
    "until_signal": {"allocation": "until_signal"},
    "until_signal (balanced)": {"allocation": "until_signal", "allocation_options": {"until": "balanced"}},
}
BY_COMPLETION = ("knapsack", "signal (mixed)")
"""Allocations that are also run with groups that count by their size."""
SELECTORS = ("random", "bots")


@dataclass(frozen=True)
class Result:
    """One run. etr, largest: means over steps. mean, last: of the held-out score, at equal completions."""

    steps: int
    etr: float
    largest: float
    mean: float
    last: float


class Policy:
    """Success by a logistic model of shared features, trained by Adam on the gradients of sampled completions."""

    def __init__(self, features: np.ndarray, difficulty: np.ndarray, rate: float) -> None:
        self.features, self.difficulty, self.rate = features, difficulty, rate
        self.weights = np.zeros(features.shape[1])
        self.first, self.second, self.step = np.zeros(FEATURES), np.zeros(FEATURES), 0

    def success(self, rows: np.ndarray | slice) -> np.ndarray:
        """p of the tasks."""
        found: np.ndarray = 1 / (1 + np.exp(-(self.features[rows] @ self.weights + self.difficulty[rows])))
        return found

    def learn(self, rows: np.ndarray, groups: list[np.ndarray], weights: str) -> None:
        """One Adam step on the groups' rewards."""
        p, total = self.success(rows), sum(map(len, groups))
        gradient = np.zeros(FEATURES)
        for row, q, rewards in zip(rows, p, groups, strict=True):
            each = 1 / (len(rows) * len(rewards)) if weights == "task" else 1 / total
            gradient += each * float(group_normalised(rewards) @ (rewards - q)) * self.features[row]
        self.step += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.99 * self.second + 0.01 * gradient**2
        first, second = self.first / (1 - 0.9**self.step), self.second / (1 - 0.99**self.step)
        self.weights += self.rate * first / (np.sqrt(second) + 1e-8)


def run(selector: str, allocation: str, weights: str, seed: int, rate: float = 0.01) -> Result:
    """Train until the budget is spent."""
    rng = np.random.default_rng((seed, 0))
    features = rng.normal(0, 0.15, (TASKS + HELD_OUT, FEATURES))
    for of_task in features:
        of_task[rng.choice(FEATURES, 3, replace=False)] += 3**-0.5
    difficulty = rng.normal(-2.5, 2.5, TASKS + HELD_OUT)
    policy = Policy(features, difficulty, rate)
    weak = rng.binomial(16, policy.success(slice(TASKS))) / 16
    policy.weights[:] = 2.0
    strong = rng.binomial(16, policy.success(slice(TASKS))) / 16
    policy.weights[:] = 0.0
    pool = TaskPool.from_arrow(pa.table({"weak": weak, "strong": strong}), weak="weak", strong="strong")
    common = {"rollouts": ROLLOUTS, "seed": seed, "selector": selector, "prior": (1.0, 1.0)}
    bots = BOTS(pool, **common | ALLOCATIONS[allocation])
    rng = np.random.default_rng((seed, 1))
    held_out = slice(TASKS, TASKS + HELD_OUT)
    spent, etr, largest = 0, [], []
    at, scores = [0], [float(policy.success(held_out).mean())]
    while spent < BATCH * ROLLOUTS * STEPS:
        rows = bots.select(BATCH)
        p = policy.success(rows)
        groups = [(rng.random(n) < q).astype(float) for n, q in zip(bots.allocate(rows), p, strict=True)]
        for place, q in enumerate(p):
            while more := bots.allocator.more(groups[place]):
                groups[place] = np.append(groups[place], (rng.random(more) < q).astype(float))
        policy.learn(rows, groups, weights)
        bots.observe(rows, groups)
        spent += sum(map(len, groups))
        etr.append(np.mean([group.min() < group.max() for group in groups]))
        largest.append(max(map(len, groups)))
        at.append(spent)
        scores.append(float(policy.success(held_out).mean()))
    grid = np.linspace(0, BATCH * ROLLOUTS * STEPS, 101)
    curve = np.interp(grid, at, scores)
    return Result(
        len(etr), float(np.mean(etr)), float(np.mean(largest)), float(curve.mean()), float(curve[-1])
    )


def main() -> None:
    """Run every arm with every seed and print a table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 0.01
    weighted = [("task", name) for name in ALLOCATIONS] + [("completion", name) for name in BY_COMPLETION]
    arms = [(selector, *rest) for selector in SELECTORS for rest in weighted]
    jobs = [
        (selector, allocation, weights, seed)
        for selector, weights, allocation in arms
        for seed in range(seeds)
    ]
    with ProcessPoolExecutor(2) as workers:
        results = dict(
            zip(
                jobs, workers.map(partial(run, rate=rate), *zip(*jobs, strict=True), chunksize=4), strict=True
            )
        )
    print(
        "| selector | weights | allocation | steps | ETR | largest group | mean score - even | last score - even |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for selector, weights, allocation in arms:
        ours = [results[selector, allocation, weights, seed] for seed in range(seeds)]
        even = [results[selector, "even", "task", seed] for seed in range(seeds)]
        cells = [
            f"{np.mean([r.steps for r in ours]):.0f}",
            f"{mean_interval([r.etr for r in ours]).mean:.3f}",
            f"{np.mean([r.largest for r in ours]):.1f}",
        ]
        for name in ("mean", "last"):
            values, base = ([getattr(r, name) for r in results] for results in (ours, even))
            if allocation == "even":
                cells.append(f"{np.mean(values):.4f} (its own)")
            else:
                gap = paired_difference(values, base)
                cells.append(f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]")
        print(f"| {selector} | {weights} | {allocation} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
