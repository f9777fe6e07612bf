"""Step metrics that the coordinator computes: about the batch, the engines and the queues."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from actors.engine_pool import EnginePool
from actors.grader_pool import GraderPool
from bots.metrics import effective_task_ratio
from bots.rollouts.ledger import Ledger
from bots.rollouts.rollout import Group, Rollout
from bots.support.arrays import as_batch


def batch_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Metrics of a batch of graded groups: ETR, mean reward, completions, tokens, and what they look like.

    With those of `completion_metrics`. A selector changes them through the tasks that it chooses, too: to compare
    policies, take the evaluation's.

    ETR and reward are means over tasks, regardless of group size. If group sizes differ, the metrics include
    `group_size_min` and `group_size_max`.
    """
    rewards = as_batch([group.rewards for group in groups])
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    sizes = [len(group.rollouts) for group in groups]
    tokens = sum(len(rollout.token_ids) for rollout in rollouts)
    ragged = isinstance(rewards, list)
    reward = np.mean([group.mean() for group in rewards]) if isinstance(rewards, list) else rewards.mean()
    return {
        "etr": effective_task_ratio(rewards),
        "reward": float(reward),
        "completions": sum(sizes),
        **({"group_size_min": min(sizes), "group_size_max": max(sizes)} if ragged else {}),
        "tokens": tokens,
        **completion_metrics(rollouts),
    }


def completion_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """What completions look like; a policy that collapses shows here first.

    `entropy` is the mean of -log p over the sampled tokens, in nats: an estimate of the entropy per token of the
    distribution that they were sampled from, after temperature and top-p. `completion_tokens` is a completion's mean
    length, `finished_share` the share that ended by themselves. Empty without completions.
    """
    if not rollouts:
        return {}
    logprobs = np.concatenate([rollout.logprobs for rollout in rollouts])
    return {
        "completion_tokens": len(logprobs) / len(rollouts),
        "entropy": -float(logprobs.mean(dtype=np.float64)) if len(logprobs) else float("nan"),
        "finished_share": float(np.mean([rollout.finished for rollout in rollouts])),
    }


def staleness_metrics(groups: Sequence[Group], step: int) -> dict[str, float]:
    """Largest and mean staleness, in policy versions, of the completions that this step trains on."""
    versions = np.array([rollout.version for group in groups for rollout in group.rollouts])
    return {
        "staleness": int(step - 1 - versions.min()),
        "staleness_mean": float(step - 1 - versions.mean()),
    }


class QueueMetrics:
    """Metrics of engines, graders and queues, counted since the previous call."""

    def __init__(self) -> None:
        self._last: tuple[float, dict[str, float]] = (time.monotonic(), {})
        self._recomputed = 0

    def since_last(self, engines: EnginePool, graders: GraderPool, ledger: Ledger) -> dict[str, Any]:
        """Engines that are up, their share of time in engine steps, losses so far, and tasks at each place."""
        now, busy = time.monotonic(), engines.busy_seconds
        since, busy_before = self._last
        self._last = now, busy
        shares = {
            name: (seconds - busy_before[name]) / (now - since)
            for name, seconds in busy.items()
            if name in busy_before
        }
        recomputed, self._recomputed = engines.recomputed - self._recomputed, engines.recomputed
        metrics: dict[str, Any] = {
            "engines": engines.up,
            "recomputed_tokens": recomputed,
            "engine_busy_share": sum(shares.values()) / max(1, len(shares)),
            "engine_losses": engines.losses,
            "grader_losses": graders.losses,
            "weights_load_seconds": engines.load_seconds,
            **{f"queue/{place}": float(count) for place, count in ledger.counts().items()},
        }
        if shares:
            idlest, busiest = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
            metrics |= {
                "engine_busy_share_min": shares[idlest],
                "engine_busy_share_max": shares[busiest],
                "engine_least_busy": idlest,
                "engine_most_busy": busiest,
            }
        return metrics
