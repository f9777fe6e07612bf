"""Advantages: how much better each completion of a group is than the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Rewards = npt.NDArray[np.float64]
Advantages = Callable[[Rewards], Rewards]
"""From the rewards of one group, (n,), to the advantages, (n,)."""


def group_normalised(rewards: Rewards) -> Rewards:
    """GRPO's advantage, (r - mean) / std over the group's n completions.

    rewards: (n,) of one group. Returns (n,); zeros for a group with equal rewards, which has no signal.
    Source: DeepSeekMath, arXiv 2402.03300, section 4.1.2.
    """
    deviation = group_centred(rewards)
    spread = deviation.std()
    return np.zeros_like(deviation) if spread < 1e-8 else deviation / spread


def group_centred(rewards: Rewards) -> Rewards:
    """Dr. GRPO's advantage, r - mean: no division by the spread, which favours very easy and hard tasks.

    Exactly 0 in a group with equal rewards: such groups skip the model, and the mean of ten times .1 is not .1.
    Source: "Understanding R1-Zero-Like Training", arXiv 2503.20783, section 3.2.
    """
    if rewards.min() == rewards.max():
        return np.zeros_like(rewards, np.float64)
    centred: Rewards = rewards - rewards.mean()
    return centred


def leave_one_out(rewards: Rewards) -> Rewards:
    """RLOO's advantage, r minus the mean of the other n - 1 completions.

    Source: "Back to Basics", arXiv 2402.14740, equation 8.
    """
    n = len(rewards)
    if n < 2:
        raise ValueError(f"leave-one-out needs at least 2 completions in a group, got {n}")
    return group_centred(rewards) * n / (n - 1)
