"""Every built-in loss passes the suite that ships for authors; broken ones do not; a loss is one function."""

import pytest
import torch

from bots.config.train import LearnerConfig
from bots.learning.advantages import group_centred
from bots.learning.conformance import (
    CHECKS,
    check_advantages,
    check_direction,
    check_filler_counts_nothing,
    check_finite_scalar,
    check_mask,
    check_parts_add_up,
    check_ratio,
    example_batch,
)
from bots.learning.losses import PolicyLoss, grpo, make_loss
from bots.support.registry import names


@pytest.mark.parametrize("name", names("loss"))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_built_in(name, check):
    check(make_loss(name))


def scaled(logprobs, batch, factor=1.0):
    return factor * grpo(logprobs, batch)


centred = PolicyLoss(scaled, advantages=group_centred)


class Scaled:
    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, logprobs, batch):
        return self.factor * grpo(logprobs, batch)


@pytest.mark.parametrize("attribute", ["scaled", "centred", "Scaled"])
def test_a_custom_loss_is_a_name_with_options(attribute):
    name = f"{__name__}:{attribute}"
    config = LearnerConfig(loss=name, loss_options={"factor": 3.0})
    loss = make_loss(config.loss, config.loss_options)
    logprobs, batch = example_batch(distance=0.1)
    assert loss(logprobs, batch).item() == pytest.approx(3 * grpo(logprobs, batch).item())
    assert (loss.advantages is group_centred) == (attribute == "centred")
    with pytest.raises(ValueError, match=f"{attribute}.*'faktor'"):
        make_loss(name, {"faktor": 3.0})


def test_a_loss_for_one_update_says_so():
    with pytest.raises(ValueError, match=r"'rloo'.*at most 1 .*updates_per_batch is 2"):
        make_loss("rloo", updates_per_batch=2)


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        (check_finite_scalar, PolicyLoss(lambda logprobs, batch: grpo(logprobs, batch)[None])),
        (check_direction, PolicyLoss(lambda logprobs, batch: -grpo(logprobs, batch))),
        (check_mask, PolicyLoss(lambda logprobs, batch: grpo(logprobs, batch) + logprobs.sum())),
        (check_parts_add_up, PolicyLoss(lambda logprobs, batch: grpo(logprobs, batch) / len(logprobs))),
        (check_filler_counts_nothing, PolicyLoss(lambda logprobs, batch: logprobs.mean())),
        (check_ratio, PolicyLoss(grpo, ratio=lambda logprobs, batch: torch.ones(3))),
        (check_advantages, PolicyLoss(grpo, advantages=lambda rewards: rewards)),
    ],
)
def test_suite_catches(check, broken):
    with pytest.raises(AssertionError):
        check(broken)
