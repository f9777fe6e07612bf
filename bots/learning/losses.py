"""Policy losses over one micro-batch: small pure functions `loss(logprobs, batch)`.

Every function takes the policy's token log-probabilities, float32 (samples, tokens), and returns one scalar whose
sum over all micro-batches and ranks is the loss of the whole batch; `LossScale` carries the batch-wide counts this
needs. Only `logprobs` carries a gradient. `PolicyLoss` adds what else belongs to a loss: its advantages and the
ratio it clips.

A user's loss is a function, a `PolicyLoss` or a class with `__call__`, named "module:attribute" in the configuration;
`bots.learning.conformance` has the checks it must pass, and `examples/loss.py` is one.

Notation of the equations: θ the policy now, "old" the policy at the batch's start (the proximal policy), μ
the policy that sampled; A the advantage; r = π_θ / π_old; w the truncated importance weight π_old / π_μ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bots.learning.advantages import Advantages, group_centred, group_normalised, leave_one_out
from bots.support import registry


@dataclass(frozen=True, slots=True)
class LossScale:
    """Counts over the whole batch, all ranks together.

    samples: number of completions. tokens: their tokens. max_tokens: the longest completion allowed.
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
    """What a loss gets of a micro-batch besides the policy's log-probabilities.

    old_logprobs: float32 (samples, tokens), log π_old. weights: (samples, tokens), w of `importance_weights`.
    advantages: (samples,). mask: (samples, tokens), 1 on completion tokens; values elsewhere do not count.
    """

    old_logprobs: Tensor
    weights: Tensor
    advantages: Tensor
    mask: Tensor
    clip: Clip
    scale: LossScale


def token_ratio(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """r = π_θ / π_old of each token, (samples, tokens); 1 outside the completion."""
    return torch.exp((logprobs - batch.old_logprobs) * batch.mask)


def completion_ratio(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """s = (π_θ / π_old)^(1/L) of a completion of L tokens, (samples, 1). Source: arXiv 2507.18071, equation 7."""
    mean = ((logprobs - batch.old_logprobs) * batch.mask).sum(1, keepdim=True) / _lengths(batch)[:, None]
    return torch.exp(mean)


def clipped_surrogate(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """PPO's clipped objective for each token, negated: -w · min(r·A, clip(r, 1 - low, 1 + high)·A).

    Source: arXiv 1707.06347, equation 7; the factor w makes it the decoupled objective of arXiv 2110.00641,
    whose trust region is around the policy at the batch's start, not around the sampler.
    """
    ratio = token_ratio(logprobs, batch)
    return -batch.weights * _clipped(ratio, batch.advantages[:, None], batch.clip)


def grpo(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """GRPO: 1/N Σ_i 1/L_i Σ_t, the mean over a completion's tokens, then over the N completions.

    Source: arXiv 2402.03300, equation 3.
    """
    loss = clipped_surrogate(logprobs, batch) * batch.mask
    return (loss.sum(1) / _lengths(batch)).sum() / batch.scale.samples


def dr_grpo(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """Dr. GRPO: 1/(N·L_max) Σ_i Σ_t, a constant divisor: no bias towards long wrong completions.

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
    """GSPO: one ratio for a whole completion, clipped as one: -1/N Σ_i w · min(s·A, clip(s)·A).

    The importance weight of a completion is likewise the geometric mean of its tokens' weights.
    Source: arXiv 2507.18071, equations 5 and 7.
    """
    weight = torch.exp((torch.log(batch.weights) * batch.mask).sum(1) / _lengths(batch))
    surrogate = _clipped(completion_ratio(logprobs, batch)[:, 0], batch.advantages, batch.clip)
    return -(weight * surrogate).sum() / batch.scale.samples


def rloo(logprobs: Tensor, batch: LossBatch) -> Tensor:
    """RLOO, REINFORCE on whole completions: -1/N Σ_i A · Σ_t w · log π_θ.

    Not clipped: the baseline, not a trust region, keeps its variance low. Its gradient is exact only at
    θ = old, hence one optimizer step per batch. Source: arXiv 2402.14740, equations 7 and 8.
    """
    return -(batch.weights * batch.advantages[:, None] * logprobs * batch.mask).sum() / batch.scale.samples


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """A loss with the advantages that go with it.

    function: loss(logprobs, batch) → scalar.
    advantages: from the rewards of one group, (n,), to its advantages; zero where a completion teaches nothing.
    ratio: the policy ratio that the loss clips, (samples, tokens), or (samples, 1) if a completion has one; only for
        the metric `clip_share`.
    most_updates: the most optimizer steps on one batch for which the loss is valid; None: any number.
    """

    function: Callable[..., Tensor]
    advantages: Advantages = group_normalised
    ratio: Callable[[Tensor, LossBatch], Tensor] = token_ratio
    most_updates: int | None = None

    def __call__(self, logprobs: Tensor, batch: LossBatch) -> Tensor:
        """The micro-batch's part of the loss, a scalar."""
        return self.function(logprobs, batch)


GRPO = PolicyLoss(grpo)
DR_GRPO = PolicyLoss(dr_grpo, advantages=group_centred)
DAPO = PolicyLoss(dapo)
GSPO = PolicyLoss(gspo, ratio=completion_ratio)
RLOO = PolicyLoss(rloo, advantages=leave_one_out, most_updates=1)


def make_loss(name: str, options: Mapping[str, Any] | None = None, updates_per_batch: int = 1) -> PolicyLoss:
    """The loss of that name.

    name: listed in `bots.support.registry`, or "module:attribute": a PolicyLoss; a function, which gets GRPO's
        advantages; or a class, constructed with the options, whose objects are either.
    options: further keyword arguments of the function, or those of the class.
    Raises ValueError for a name that cannot be loaded, options it does not take, or more updates than it allows.
    """
    found, rest = registry.load("loss", name), dict(options or {})
    if isinstance(found, type):
        registry.check_options("loss", name, found, (), rest)
        found, rest = found(**rest), {}
    if not callable(found):
        raise ValueError(f"loss {name!r} is {type(found).__name__}, which cannot be called")  # noqa: TRY004
    loss = found if isinstance(found, PolicyLoss) else PolicyLoss(found)
    if rest:
        registry.check_options("loss", name, loss.function, (None, None), rest)
        loss = replace(loss, function=partial(loss.function, **rest))
    if loss.most_updates is not None and updates_per_batch > loss.most_updates:
        raise ValueError(
            f"loss {name!r} is valid for at most {loss.most_updates} optimizer steps on a batch, but "
            f"updates_per_batch is {updates_per_batch}"
        )
    return loss


def reference_kl(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """Unbiased, non-negative estimate of KL(π ‖ π_ref) for each token: e^d - d - 1, d = log π_ref - log π.

    Source: arXiv 2402.03300, equation 4.
    """
    difference = reference_logprobs - logprobs
    return torch.exp(difference) - difference - 1


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Log-probability of each target token, (samples, tokens) from logits (samples, tokens, vocabulary).

    Divides by the sampler's temperature, so that both refer to the same distribution.
    """
    scaled = logits.float() / temperature
    chosen = scaled.gather(-1, targets[..., None])[..., 0]
    return chosen - torch.logsumexp(scaled, -1)


def _clipped(ratio: Tensor, advantage: Tensor, clip: Clip) -> Tensor:
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip.low, 1 + clip.high) * advantage)


def _lengths(batch: LossBatch) -> Tensor:
    # A completion without weight (a rank's filler) has no tokens; its sum is zero whatever the divisor.
    return batch.mask.sum(1).clamp(min=1)
