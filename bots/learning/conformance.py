"""Checks that every policy loss must pass. Its author runs them in a test file:

import pytest
from bots.learning.conformance import CHECKS
from bots.learning.losses import make_loss

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_my_loss(check):
    check(make_loss("mine:my_loss", {"my_option": 3}))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bots.learning.losses import Clip, LossBatch, LossScale, PolicyLoss

LENGTHS = 5, 3, 1, 4
"""Completion tokens of the example's samples; the mask is 0 on the rest of their six tokens."""


def example_batch(seed: int = 0, distance: float = 0.0) -> tuple[Tensor, LossBatch]:
    """Log-probabilities (4, 6) with a gradient, and the batch they belong to.

    distance: standard deviation of log π_θ - log π_old; 0 is the start of a batch.
    """
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(4, 6, generator=generator) - 0.1
    mask = (torch.arange(6)[None, :] < torch.tensor(LENGTHS)[:, None]).float()
    batch = LossBatch(
        old_logprobs=old,
        weights=(0.5 + torch.rand(4, 6, generator=generator)) * mask + (1 - mask),
        advantages=torch.tensor([1.0, -0.5, 0.8, -1.3]),
        mask=mask,
        clip=Clip(0.2, 0.28),
        scale=LossScale(samples=4, tokens=sum(LENGTHS), max_tokens=10),
    )
    moved = old + distance * torch.randn(4, 6, generator=generator)
    return moved.requires_grad_(), batch


def _gradient(loss: PolicyLoss, logprobs: Tensor, batch: LossBatch) -> tuple[Tensor, Tensor]:
    """The loss and its gradient."""
    fresh = logprobs.detach().clone().requires_grad_()
    value = loss(fresh, batch)
    (gradient,) = torch.autograd.grad(value, fresh)
    return value.detach(), gradient


def check_finite_scalar(loss: PolicyLoss) -> None:
    """A finite scalar with a finite gradient, at the batch's start and further away."""
    for distance in (0.0, 0.3, 3.0):
        value, gradient = _gradient(loss, *example_batch(distance=distance))
        if value.shape != () or not torch.isfinite(value):
            raise AssertionError(f"at distance {distance} the loss is {value}; it must be a finite scalar")
        if not torch.isfinite(gradient).all():
            raise AssertionError(f"at distance {distance} the gradient is not finite")


def check_direction(loss: PolicyLoss) -> None:
    """At the batch's start, descent raises the log-probability of tokens with A > 0 and lowers it for A < 0."""
    logprobs, batch = example_batch()
    _, gradient = _gradient(loss, logprobs, batch)
    wrong = (gradient * batch.advantages[:, None] >= 0) & (batch.mask > 0)
    if wrong.any():
        raise AssertionError(
            f"{int(wrong.sum())} completion tokens have a gradient that goes against their advantage"
        )


def check_mask(loss: PolicyLoss) -> None:
    """Values outside the completions change nothing and get no gradient."""
    logprobs, batch = example_batch(distance=0.1)
    value, gradient = _gradient(loss, logprobs, batch)
    if (gradient[batch.mask == 0] != 0).any():
        raise AssertionError("tokens outside the completions get a gradient")
    other = torch.where(batch.mask > 0, logprobs.detach(), logprobs.detach() - 5)
    if not torch.allclose(_gradient(loss, other, batch)[0], value):
        raise AssertionError("log-probabilities outside the completions change the loss")


def check_parts_add_up(loss: PolicyLoss) -> None:
    """The losses of micro-batches sum to the loss of the whole batch, whatever the split."""
    logprobs, batch = example_batch(distance=0.1)
    whole = _gradient(loss, logprobs, batch)[0]
    for cut in (1, 2, 3):
        parts = [
            _gradient(loss, logprobs[part], _part(batch, part))[0] for part in (slice(cut), slice(cut, None))
        ]
        if not torch.allclose(parts[0] + parts[1], whole, atol=1e-6):
            raise AssertionError(
                f"cut after sample {cut} the parts sum to {float(parts[0] + parts[1])}, the whole is {float(whole)}; "
                "divide by batch.scale, not by the micro-batch's own counts"
            )


def check_filler_counts_nothing(loss: PolicyLoss) -> None:
    """A sample whose mask and advantage are 0, with which ranks are filled up, adds no loss and no gradient."""
    logprobs, batch = example_batch()
    empty = replace(batch, mask=torch.zeros_like(batch.mask), advantages=torch.zeros_like(batch.advantages))
    value, gradient = _gradient(loss, logprobs, empty)
    if value != 0 or (gradient != 0).any():
        raise AssertionError(f"a batch of fillers has loss {float(value)}; it must be 0 with a gradient of 0")


def check_inputs_untouched(loss: PolicyLoss) -> None:
    """The batch's tensors are not written to."""
    logprobs, batch = example_batch(distance=0.1)
    names = ("old_logprobs", "weights", "advantages", "mask")
    before = {name: getattr(batch, name).clone() for name in names}
    _gradient(loss, logprobs, batch)
    for name, tensor in before.items():
        if not torch.equal(getattr(batch, name), tensor):
            raise AssertionError(f"the loss changed batch.{name}")


def check_ratio(loss: PolicyLoss) -> None:
    """The ratio is 1 at the batch's start, positive, and of shape (samples, tokens) or (samples, 1)."""
    for distance in (0.0, 0.3):
        logprobs, batch = example_batch(distance=distance)
        ratio = loss.ratio(logprobs.detach(), batch)
        if ratio.shape not in (logprobs.shape, (len(logprobs), 1)) or not (ratio > 0).all():
            raise AssertionError(f"the ratio has shape {tuple(ratio.shape)} or is not positive")
        if distance == 0 and not torch.allclose(ratio, torch.ones_like(ratio)):
            raise AssertionError("the ratio is not 1 at the batch's start")


def check_advantages(loss: PolicyLoss) -> None:
    """Advantages are finite, one per reward, ordered like the rewards, and 0 for equal rewards."""
    for rewards in ([0.0, 1.0], [0.0, 0.0, 1.0, 1.0, 0.25, 0.1], [0.1] * 5, [0.0] * 16, [1.0] * 3):
        given = np.array(rewards)
        advantages = np.asarray(loss.advantages(given.copy()))
        if advantages.shape != given.shape or not np.isfinite(advantages).all():
            raise AssertionError(
                f"rewards {rewards} have the advantages {advantages}; one finite number each is needed"
            )
        if len(set(rewards)) == 1 and np.abs(advantages).max() > 1e-6:
            raise AssertionError(f"equal rewards {rewards} have the advantages {advantages}; they must be 0")
        if (np.diff(advantages[np.argsort(given, kind="stable")]) < -1e-9).any():
            raise AssertionError(f"rewards {rewards} have the advantages {advantages}, in another order")


def _part(batch: LossBatch, part: slice) -> LossBatch:
    names = ("old_logprobs", "weights", "advantages", "mask")
    return replace(batch, **{name: getattr(batch, name)[part] for name in names})


CHECKS: tuple[Callable[[PolicyLoss], None], ...] = (
    check_finite_scalar,
    check_direction,
    check_mask,
    check_parts_add_up,
    check_filler_counts_nothing,
    check_inputs_untouched,
    check_ratio,
    check_advantages,
)
