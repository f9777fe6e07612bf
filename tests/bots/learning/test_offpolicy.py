"""The off-policy correction against hand-worked examples."""

import math

import pytest
import torch

from bots.learning.losses import Clip, LossBatch, LossScale, dapo
from bots.learning.offpolicy import clipped_tokens, importance_weights, mismatch_sums


def log(rows):
    return torch.log(torch.tensor(rows))


def test_importance_weights_are_truncated_from_above_only():
    old, sampler = log([[0.8, 0.1]]), log([[0.2, 0.4]])
    assert importance_weights(old, sampler, cap=2.0)[0].tolist() == pytest.approx([2.0, 0.25])


def test_mismatch_of_a_stale_sampler():
    # Ratios 4 and 1/2; the third token is padding.
    old, sampler = log([[0.8, 0.2, 0.9]]), log([[0.2, 0.4, 0.1]])
    sums = mismatch_sums(old, sampler, torch.tensor([[1.0, 1.0, 0.0]]), cap=2.0)
    assert sums["tokens"] == 2
    assert sums["truncated"] == 1
    assert sums["kl"].item() == pytest.approx((4 - math.log(4) - 1) + (0.5 + math.log(2) - 1), rel=1e-5)


def test_a_token_counts_as_clipped_where_the_clip_takes_its_gradient():
    advantages = torch.tensor([1.0, -1.0])
    old = log([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    batch = LossBatch(old, torch.ones(2, 3), advantages, mask, Clip(0.2, 0.28), LossScale(2, 5, 10))
    ratio = torch.tensor([[1.4, 0.5, 1.1], [0.7, 1.4, 0.1]])
    logprobs = (old + torch.log(ratio)).requires_grad_()
    dapo(logprobs, batch).backward()
    without_gradient = ((logprobs.grad == 0) * mask).sum()
    assert clipped_tokens(ratio, batch) == without_gradient == 2


def test_stale_answers_teach_as_much_as_their_weight_says_whatever_the_clip():
    """E_μ[w · ∇ log π] = E_old[∇ log π]: over a whole vocabulary, correction restores the on-policy gradient."""
    logits = torch.tensor([0.3, -0.2, 1.0, 0.5], requires_grad=True)
    sampler = torch.log_softmax(torch.tensor([1.0, -1.0, 0.2, 0.0]), 0)
    rewards = torch.tensor([1.0, 0.0, -0.5, 0.25])
    exact = torch.autograd.grad(-(torch.softmax(logits, 0) * rewards).sum(), logits)[0]
    # One "answer" of one token for each word, weighted by how often the sampler draws it.
    logprobs = torch.log_softmax(logits, 0)[:, None]
    old = logprobs.detach()
    weights = importance_weights(old, sampler[:, None], cap=1e9)
    ones = torch.ones(4, 1)
    # The sampler's ratio is far outside this clip; that of the batch's start is 1.
    assert ((weights - 1).abs() > 0.2).any()
    batch = LossBatch(old, weights, rewards * sampler.exp(), ones, Clip(0.01, 0.01), LossScale(4, 1, 1))
    found = torch.autograd.grad(dapo(logprobs, batch), logits)[0]
    assert torch.allclose(found, exact, atol=1e-6)
