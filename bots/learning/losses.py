"""Policy losses over one micro-batch: small pure functions `loss(logprobs, batch)`.

Every function takes the policy's token log-probabilities, float32 (samples, tokens), and returns one scalar
whose sum over all micro-batches and ranks is the loss of the whole batch; `LossScale` carries the batch-wide
counts that this needs. Only `logprobs` carries a gradient.

Notation of the equations: θ the policy now, "old" the policy at the batch's start (the proximal policy), μ
the policy that sampled; A the advantage; r = π_θ / π_old; w the truncated importance weight π_old / π_μ.
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


@dataclass(frozen=True, slots=True)
class LossBatch:
    """What a loss knows of a micro-batch besides the policy's own log-probabilities.

    old_logprobs: float32 (samples, tokens), log π_old. weights: (samples, tokens), w of `importance_weights`.
    advantages: (samples,). mask: (samples, tokens), 1 on answer tokens; elsewhere no value counts.
    """

    old_logprobs: Tensor
    weights: Tensor
    advantages: Tensor
    mask: Tensor
    clip: Clip
    scale: LossScale


PolicyLoss = Callable[[Tensor, LossBatch], Tensor]
"""loss(logprobs, batch) → scalar."""


def token_ratio(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """r = π_θ / π_old of each token, (samples, tokens); 1 outside the answer."""
    return torch.exp((logprobs - batch.old_logprobs) * batch.mask)


def answer_ratio(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """s = (π_θ / π_old)^(1/L) of a whole answer of L tokens, (samples,). Source: arXiv 2507.18071, equation 7."""
    return torch.exp(((logprobs - batch.old_logprobs) * batch.mask).sum(1) / _lengths(batch))


def clipped_surrogate(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """PPO's clipped objective for each token, negated: -w · min(r·A, clip(r, 1 - low, 1 + high)·A).

    Source: arXiv 1707.06347, equation 7; the factor w makes it the decoupled objective of arXiv 2110.00641,
    whose trust region is around the policy at the batch's start, not around the sampler.
    """
    ratio = token_ratio(logprobs, batch)
    return -batch.weights * _clipped(ratio, batch.advantages[:, None], batch.clip)


def grpo(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """GRPO: 1/N Σ_i 1/L_i Σ_t, the mean over an answer's tokens, then over the N answers.

    Source: arXiv 2402.03300, equation 3.
    """
    loss = clipped_surrogate(logprobs, batch) * batch.mask
    return (loss.sum(1) / _lengths(batch)).sum() / batch.scale.samples


def dr_grpo(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """Dr. GRPO: 1/(N·L_max) Σ_i Σ_t, a constant divisor: no bias towards long wrong answers.

    Source: arXiv 2503.20783, figure 1 and section 3.2.
    """
    loss = clipped_surrogate(logprobs, batch) * batch.mask
    return loss.sum() / (batch.scale.samples * batch.scale.max_tokens)


def dapo(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """DAPO: 1/Σ_i L_i Σ_i Σ_t, the mean over all tokens of the batch; meant with `clip_high` 0.28.

    Source: arXiv 2503.14476, section 3.3, equation 12.
    """
    return (clipped_surrogate(logprobs, batch) * batch.mask).sum() / batch.scale.tokens


def gspo(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """GSPO: one ratio for a whole answer, clipped as one: -1/N Σ_i w · min(s·A, clip(s)·A).

    The importance weight of an answer is likewise the geometric mean of its tokens' weights.
    Source: arXiv 2507.18071, equations 5 and 7.
    """
    weight = torch.exp((torch.log(batch.weights) * batch.mask).sum(1) / _lengths(batch))
    surrogate = _clipped(answer_ratio(logprobs, batch), batch.advantages, batch.clip)
    return -(weight * surrogate).sum() / batch.scale.samples


def rloo(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """RLOO, REINFORCE on whole answers: -1/N Σ_i A · Σ_t w · log π_θ.

    Not clipped: the baseline, not a trust region, keeps its variance low. Its gradient is right only at
    θ = old, so it takes one optimizer step a batch. Source: arXiv 2402.14740, equations 7 and 8.
    """
    return -(batch.weights * batch.advantages[:, None] * logprobs * batch.mask).sum() / batch.scale.samples


LOSSES: dict[str, PolicyLoss] = {"grpo": grpo, "dr_grpo": dr_grpo, "dapo": dapo, "gspo": gspo, "rloo": rloo}
"""The losses by their configuration name."""


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


def _clipped(ratio: Tensor, advantage: Tensor, clip: Clip) -> Tensor:
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip.low, 1 + clip.high) * advantage)


def _lengths(batch: LossBatch) -> Tensor:
    # An answer of no weight (a rank's filler) has no token; its sum is zero whatever it is divided by.
    return batch.mask.sum(1).clamp(min=1)
