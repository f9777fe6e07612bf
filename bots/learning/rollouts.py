"""What a rollout is: one answer to a task, with everything the loss and the reader need to know of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled answer.

    token_ids: int32 (L,), with the end-of-sequence token if it was reached.
    logprobs: float32 (L,), log-probability of each token under the policy that sampled it.
    text: the decoded answer without special tokens.
    finished: whether it ended by itself; False if it ran into the token limit.
    version: policy version that sampled it.
    """

    token_ids: npt.NDArray[np.int32]
    logprobs: npt.NDArray[np.float32]
    text: str
    finished: bool
    version: int


@dataclass(slots=True)
class Group:
    """The n answers to one task, GRPO's unit.

    row: the task's row in the pool.
    prompt_ids: int32 (P,).
    rollouts: the n answers.
    rewards: float64 (n,) in [0, 1] once graded; NaN where a grader failed.
    reasons: the graders' reasons, one for each answer.
    """

    row: int
    prompt_ids: npt.NDArray[np.int32]
    rollouts: list[Rollout]
    rewards: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    reasons: list[str] = field(default_factory=list)

    @property
    def graded(self) -> bool:
        """Whether every answer has a reward; a partial group would bias the advantage."""
        return len(self.rewards) == len(self.rollouts) and not np.isnan(self.rewards).any()
