"""BOTS inside another trainer: a plain NumPy loop that trains a small policy with REINFORCE.

Run it:

    python examples/trainer.py

The loop owns the policy, the rollouts and the rewards; `bots` only says which tasks come next, in the lines marked
with `BOTS`. A task is a question with ten possible answers, described by ten noisy numbers; the higher its level, the
weaker the hint at the right answer. The policy is linear in these numbers, so what it learns on one task carries over.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from bots import BOTS, TaskPool

BATCH, ROLLOUTS, STEPS = 16, 8, 150


class Policy:
    """Softmax over the answers 0 … 9, linear in a task's features; learns by REINFORCE with a group baseline.

    features: float (K, d), a row per task. answers: int (K,), the reference answers.
    """

    def __init__(self, features: np.ndarray, answers: np.ndarray, seed: int) -> None:
        self.features, self.answers = features, answers
        self.weights = np.zeros((features.shape[1], 10))
        self.rng = np.random.default_rng(seed)

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Probability of each answer, (B, 10)."""
        logits = self.features[rows] @ self.weights
        exponential: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
        exponential /= exponential.sum(axis=1, keepdims=True)
        return exponential

    def roll_out(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Completions (B, n), each one of the ten answers, and their rewards (B, n), 1 where right."""
        cumulative = self.probabilities(rows).cumsum(axis=1)
        completions = (self.rng.random((len(rows), ROLLOUTS, 1)) > cumulative[:, None, :]).sum(axis=2)
        completions = np.minimum(completions, 9)
        return completions, (completions == self.answers[rows, None]).astype(float)

    def learn(
        self, rows: np.ndarray, completions: np.ndarray, rewards: np.ndarray, rate: float = 0.5
    ) -> None:
        """One step along Σ A·∇log π with A = r - mean of the group."""
        advantages = rewards - rewards.mean(axis=1, keepdims=True)
        chosen = np.eye(10)[completions]
        direction = (advantages[:, :, None] * (chosen - self.probabilities(rows)[:, None, :])).sum(axis=1)
        self.weights += rate * self.features[rows].T @ direction / rewards.size

    def score(self) -> float:
        """Mean probability of the right answer over all tasks."""
        every = np.arange(len(self.answers))
        return float(self.probabilities(every)[every, self.answers].mean())


def make_tasks(seed: int = 0) -> tuple[TaskPool, np.ndarray, np.ndarray]:
    """A pool of 600 tasks, their features and their answers. Level 0 is easy, level 5 close to noise."""
    rng = np.random.default_rng(seed)
    level = np.repeat(np.arange(6), 100)
    answers = rng.integers(0, 10, 600)
    signal = np.eye(10)[answers] * np.exp(-0.7 * level)[:, None]
    features = 4 * signal + rng.normal(0, 0.3, (600, 10))
    table = pa.table({"id": [f"task-{k}" for k in range(600)], "level": level})
    return TaskPool.from_arrow(table), features, answers


def train(selector: str, seed: int = 0) -> list[float]:
    """Train with tasks from this selector; the score before training and after every ten steps."""
    pool, features, answers = make_tasks(seed)
    policy = Policy(features, answers, seed)
    bots = BOTS(pool, selector=selector, rollouts=ROLLOUTS, seed=seed)  # BOTS
    scores = [policy.score()]
    for step in range(1, STEPS + 1):
        rows = bots.select(BATCH, step=step)  # BOTS
        completions, rewards = policy.roll_out(rows)
        policy.learn(rows, completions, rewards)
        bots.observe(rows, rewards, step=step)  # BOTS
        if step % 10 == 0:
            scores.append(policy.score())
    print(
        f"{selector}: score {scores[0]:.2f} -> {scores[-1]:.2f}, {bots.metrics()['batch/etr']:.0%} mixed"
    )  # BOTS
    return scores


if __name__ == "__main__":
    for selector in ("bots", "random"):
        train(selector)
