"""Each loss against a hand-worked example: one answer of two tokens, one of a single token."""

import math

import pytest
import torch

from bots.learning.losses import Clip, LossBatch, LossScale, make_loss, reference_kl, token_logprobs
from bots.support.registry import names

CLIP = Clip(low=0.2, high=0.28)
SCALE = LossScale(samples=2, tokens=3, max_tokens=10)
MASK = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
ADVANTAGES = torch.tensor([1.0, -1.0])
ONES = torch.ones(2, 2)


def log(rows):
    return torch.log(torch.tensor(rows))


def batch(old, weights=ONES):
    return LossBatch(old, weights, ADVANTAGES, MASK, CLIP, SCALE)


def loss(name, ratios, weights=ONES):
    old = log([[0.5, 0.5], [0.5, 0.5]])
    return make_loss(name)(old + log(ratios), batch(old, weights)).item()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Tokens: -min(1.5, 1.28) = -1.28, -min(1.1, 1.1) = -1.1; second answer: -min(-0.5, -0.8) = 0.8.
        ("grpo", ((-1.28 - 1.1) / 2 + 0.8) / 2),
        ("dr_grpo", (-1.28 - 1.1 + 0.8) / (2 * 10)),
        ("dapo", (-1.28 - 1.1 + 0.8) / 3),
        # One ratio an answer: sqrt(1.5 * 1.1) = 1.2845 is clipped to 1.28; 0.5 is clipped to 0.8.
        ("gspo", (-1.28 + 0.8) / 2),
        # -A * log pi: -(log .75 + log .55) for the first, + log .25 for the second.
        ("rloo", (-(math.log(0.75) + math.log(0.55)) + math.log(0.25)) / 2),
    ],
)
def test_loss_equals_the_hand_worked_value(name, expected):
    # The last entry is padding: whatever stands there must not count.
    assert loss(name, [[1.5, 1.1], [0.5, 7.0]]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # As above, with the first token's surrogate halved.
        ("grpo", ((-1.28 * 0.5 - 1.1) / 2 + 0.8) / 2),
        ("dr_grpo", (-1.28 * 0.5 - 1.1 + 0.8) / (2 * 10)),
        ("dapo", (-1.28 * 0.5 - 1.1 + 0.8) / 3),
        # Geometric mean of the weights 1/2 and 1.
        ("gspo", (-1.28 * math.sqrt(0.5) + 0.8) / 2),
        ("rloo", (-(0.5 * math.log(0.75) + math.log(0.55)) + math.log(0.25)) / 2),
    ],
)
def test_an_importance_weight_multiplies_its_token(name, expected):
    weights = torch.tensor([[0.5, 1.0], [1.0, 1.0]])
    assert loss(name, [[1.5, 1.1], [0.5, 7.0]], weights) == pytest.approx(expected, rel=1e-5)


def test_low_ratio_of_a_good_token_keeps_its_gradient():
    logprobs = log([[0.25, 0.5], [0.5, 0.5]]).requires_grad_()
    old = log([[0.5, 0.5], [0.5, 0.5]])
    make_loss("dapo")(logprobs, batch(old)).backward()
    assert logprobs.grad[0, 0].item() == pytest.approx(-0.5 / 3)  # ratio 0.5, not clipped: it may rise
    assert logprobs.grad[1, 1].item() == 0.0


@pytest.mark.parametrize("name", names("loss"))
def test_every_loss_makes_the_better_answer_likelier(name):
    logprobs = log([[0.5, 0.5], [0.5, 0.5]]).requires_grad_()
    make_loss(name)(logprobs, batch(logprobs.detach())).backward()
    assert (logprobs.grad[0] < 0).all()  # descending the loss raises these
    assert logprobs.grad[1, 0] > 0
    assert logprobs.grad[1, 1] == 0


def test_reference_kl_is_zero_for_equal_policies_and_positive_otherwise():
    same = log([[0.3, 0.7]])
    assert reference_kl(same, same).tolist() == [[0.0, 0.0]]
    # d = log 2: 2 - log 2 - 1
    assert reference_kl(log([[0.25]]), log([[0.5]])).item() == pytest.approx(1 - math.log(2), rel=1e-6)


def test_token_logprobs_divide_by_the_temperature():
    logits = torch.tensor([[[0.0, math.log(3.0)]]])
    assert math.exp(token_logprobs(logits, torch.tensor([[1]]), 1.0).item()) == pytest.approx(0.75)
    assert math.exp(token_logprobs(logits, torch.tensor([[1]]), 0.5).item()) == pytest.approx(0.9)
