"""Rollouts and groups: the completions of a task, with everything the loss and a reader need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled completion.

    token_ids: int32 (L,), with the end-of-sequence token if it was reached.
    logprobs: float32 (L,), log-probability of each token under the policy that sampled it.
    text: the decoded completion without special tokens.
    finished: whether it ended by itself; False if it reached the token limit.
    version: policy version that sampled it; the oldest one if the weights changed during sampling.
    weights: checksum of that version's weights, computed by the engine when it loaded them.
    spans: (version, tokens) for each policy version that sampled a part of it, in order.
    engine: name of the engine that generated it.
    """

    token_ids: npt.NDArray[np.int32]
    logprobs: npt.NDArray[np.float32]
    text: str
    finished: bool
    version: int
    weights: str
    spans: tuple[tuple[int, int], ...] = ()
    engine: str = ""

    @property
    def newest_version(self) -> int:
        """Policy version of its last token."""
        return self.spans[-1][0] if self.spans else self.version


@dataclass(slots=True)
class Group:
    """The n completions of one task: the unit of GRPO.

    row: the task's row in the pool.
    prompt_ids: int32 (P,).
    rollouts: its completions, n of them unless an allocation decides otherwise.
    rewards: float64 (n,) in [0, 1] once graded; NaN where a grader failed.
    reasons: the graders' reasons, one per completion.
    wave: number of the selection that the task came from; 0 at an evaluation.
    """

    row: int
    prompt_ids: npt.NDArray[np.int32]
    rollouts: list[Rollout]
    rewards: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    reasons: list[str] = field(default_factory=list)
    wave: int = 0

    @property
    def graded(self) -> bool:
        """Whether every completion has a reward; a partial group would bias the advantage."""
        return len(self.rewards) == len(self.rollouts) and not np.isnan(self.rewards).any()


def joined(earlier: Group | None, group: Group) -> Group:
    """Join the groups of two rounds, earlier completions first; `group` itself if there was no earlier round."""
    if earlier is None:
        return group
    return replace(
        group,
        rollouts=earlier.rollouts + group.rollouts,
        rewards=np.concatenate([earlier.rewards, group.rewards]),
        reasons=earlier.reasons + group.reasons,
    )


def rollout_table(step: int, ids: Sequence[str], groups: Sequence[Group]) -> pa.Table:
    """The rollouts of one step as a table, one row per rollout.

    ids: the groups' task ids. A reward is null if the completion could not be graded.
    Column `answer` holds the completion; saved runs use this name.
    Columns: step, task, answer, reward, reason, tokens, mean_logprob, finished, policy_version (of the
    oldest token), newest_policy_version, weights, engine (its name), wave and row (the task's selection and its row in
    the pool).
    """
    completions = [(task, g, i) for task, g in zip(ids, groups, strict=True) for i in range(len(g.rollouts))]
    rollouts = [group.rollouts[i] for _, group, i in completions]
    return pa.table(
        {
            "step": pa.array([step] * len(completions), pa.int32()),
            "task": [task for task, _, _ in completions],
            "answer": [rollout.text for rollout in rollouts],
            "reward": pa.array([group.rewards[i] for _, group, i in completions], from_pandas=True),
            "reason": [group.reasons[i] for _, group, i in completions],
            "tokens": pa.array([len(rollout.token_ids) for rollout in rollouts], pa.int32()),
            "mean_logprob": [float(rollout.logprobs.mean()) for rollout in rollouts],
            "finished": [rollout.finished for rollout in rollouts],
            "policy_version": pa.array([rollout.version for rollout in rollouts], pa.int32()),
            "newest_policy_version": pa.array([rollout.newest_version for rollout in rollouts], pa.int32()),
            "weights": [rollout.weights for rollout in rollouts],
            "engine": [rollout.engine for rollout in rollouts],
            "wave": pa.array([group.wave for _, group, _ in completions], pa.int32()),
            "row": pa.array([group.row for _, group, _ in completions], pa.int64()),
        }
    )
