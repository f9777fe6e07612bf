"""Policy losses over one micro-batch: small pure functions with one signature.

Every function takes token log-probabilities and returns one scalar whose sum over all micro-batches and
ranks is the loss of the whole batch; `LossScale` carries the batch-wide counts that this needs.
Shapes: (samples, tokens); `mask` is 1 on answer tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LossScale:
    """Counts over the whole batch, all ranks together.

    samples: number of answers. tokens: number of answer tokens. max_tokens: the longest answer allowed.
    """

    samples: int
    tokens: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Clip:
    """Bounds of the policy ratio: it counts only within [1 - low, 1 + high]."""

    low: float
    high: float


PolicyLoss = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Clip, LossScale], Tensor]
"""loss(logprobs, old_logprobs, advantages (samples,), weights, mask, clip, scale) → scalar."""


def clipped_surrogate(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, weights: Tensor, clip: Clip
) -> Tensor:
    """PPO's clipped objective for each token, negated: -w · min(r·A, clip(r)·A), r = π / π_old.

    weights: truncated importance weights of the tokens (1 where the sampler is the old policy).
    Source: arXiv 1707.06347, equation 7.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    advantage = advantages[:, None]
    clipped = ratio.clamp(1 - clip.low, 1 + clip.high)
    return -weights * torch.minimum(ratio * advantage, clipped * advantage)


def grpo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    mask: Tensor,
    clip: Clip,
    scale: LossScale,
) -> Tensor:
    """Mean over the tokens of an answer, then over the answers. Source: arXiv 2402.03300, equation 3."""
    loss = clipped_surrogate(logprobs, old_logprobs, advantages, weights, clip)
    lengths = mask.sum(1).clamp(min=1)
    return ((loss * mask).sum(1) / lengths).sum() / scale.samples


def dr_grpo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    mask: Tensor,
    clip: Clip,
    scale: LossScale,
) -> Tensor:
    """Sum over tokens by a constant: no bias towards long wrong answers. Source: arXiv 2503.20783, figure 1."""
    loss = clipped_surrogate(logprobs, old_logprobs, advantages, weights, clip)
    return (loss * mask).sum() / (scale.samples * scale.max_tokens)


def dapo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    mask: Tensor,
    clip: Clip,
    scale: LossScale,
) -> Tensor:
    """Mean over all tokens of the batch; meant with `clip_high` 0.28. Source: arXiv 2503.14476, equation 12."""
    loss = clipped_surrogate(logprobs, old_logprobs, advantages, weights, clip)
    return (loss * mask).sum() / scale.tokens


def gspo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    mask: Tensor,
    clip: Clip,
    scale: LossScale,
) -> Tensor:
    """One ratio for a whole answer, (π/π_old)^(1/L), clipped as one. Source: arXiv 2507.18071, equations 5, 7.

    The importance weight of an answer is likewise the geometric mean of its tokens' weights.
    """
    lengths = mask.sum(1).clamp(min=1)
    log_ratio = ((logprobs - old_logprobs) * mask).sum(1) / lengths
    weight = torch.exp((torch.log(weights) * mask).sum(1) / lengths)
    ratio = torch.exp(log_ratio)
    clipped = ratio.clamp(1 - clip.low, 1 + clip.high)
    return -(weight * torch.minimum(ratio * advantages, clipped * advantages)).sum() / scale.samples


def rloo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    mask: Tensor,
    clip: Clip,
    scale: LossScale,
) -> Tensor:
    """REINFORCE on whole answers: -A · Σ log π, by number of answers. Source: arXiv 2402.14740, equation 7.

    Not clipped: the baseline, not a trust region, keeps its variance low.
    """
    return -(weights * advantages[:, None] * logprobs * mask).sum() / scale.samples


LOSSES: dict[str, PolicyLoss] = {"grpo": grpo, "dr_grpo": dr_grpo, "dapo": dapo, "gspo": gspo, "rloo": rloo}
"""The losses by their configuration name."""


def importance_weights(old_logprobs: Tensor, sampler_logprobs: Tensor, cap: float) -> Tensor:
    """Truncated importance weights min(π_old / π_sampler, cap), without gradient.

    They correct for what separates the learner from the engine that sampled: precision, kernels, staleness.
    Source: "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training" (2025), equation 2.
    """
    return torch.exp(old_logprobs - sampler_logprobs).clamp(max=cap).detach()


def reference_kl(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """Unbiased, non-negative estimate of KL(π ‖ π_ref) for each token: e^d - d - 1, d = log π_ref - log π.

    Source: arXiv 2402.03300, equation 4.
    """
    difference = reference_logprobs - logprobs
    return torch.exp(difference) - difference - 1


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Log-probability of each target token, (samples, tokens) from logits (samples, tokens, vocabulary).

    Divides by the temperature that the sampler used, so that both speak of the same distribution.
    """
    scaled = logits.float() / temperature
    chosen = scaled.gather(-1, targets[..., None])[..., 0]
    return chosen - torch.logsumexp(scaled, -1)
