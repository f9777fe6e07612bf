"""Off-policy samples: the mismatch between sampler and learner, and its correction.

Three policies are involved in a step: μ, which sampled (an engine, in its own precision and kernels, and up to
`max_staleness` versions old); "old", the learner at the batch's start; and θ, the learner after each of the
batch's optimizer steps. The ratio π_θ/π_old, from exactly 1, is what a loss clips; the weight π_old/π_μ,
truncated, corrects for the sampler. Clipping π_θ/π_μ instead would stop learning from stale completions.
Sources: "Batch size-invariance for policy optimization", arXiv 2110.00641 (the decoupled objective); AReaL,
arXiv 2505.24298, section 5.2 (the same for stale rollouts); V-trace, arXiv 1802.01561 (truncation).
"""

from __future__ import annotations

import torch
from torch import Tensor

from bots.learning.losses import LossBatch


def importance_weights(old_logprobs: Tensor, sampler_logprobs: Tensor, cap: float) -> Tensor:
    """Truncated importance weights min(π_old / π_μ, cap) for each token, without gradient.

    Source: "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training" (2025), equation 2.
    """
    return torch.exp(old_logprobs - sampler_logprobs).clamp(max=cap).detach()


def mismatch_sums(
    old_logprobs: Tensor, sampler_logprobs: Tensor, mask: Tensor, cap: float
) -> dict[str, Tensor]:
    """How far the sampler was from the policy at the batch's start: sums over completion tokens.

    tokens: their number. kl: KL(π_μ ‖ π_old), by the k3 estimate e^d - d - 1, d = log π_old - log π_μ, which
    is never negative. truncated: tokens whose importance weight reached the cap.
    """
    difference = (old_logprobs - sampler_logprobs) * mask
    return {
        "tokens": mask.sum(),
        "kl": (torch.exp(difference) - difference - 1).sum(),
        "truncated": ((torch.exp(difference) > cap) * mask).sum(),
    }


def clipped_tokens(ratio: Tensor, batch: LossBatch) -> Tensor:
    """Number of completion tokens whose gradient the clip removed: r beyond the bound that A points to.

    ratio: (samples, tokens), or (samples, 1) if a completion has one.
    """
    advantage = batch.advantages[:, None]
    too_high = (ratio > 1 + batch.clip.high) & (advantage > 0)
    too_low = (ratio < 1 - batch.clip.low) & (advantage < 0)
    return ((too_high | too_low) * batch.mask).sum()
