"""Groups of different sizes in one batch: the gradient is that of the loss written out group by group."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from actors.batch_metrics import batch_metrics
from bots.learning.batching import make_rank_batches
from bots.learning.losses import Clip, LossBatch, make_loss
from bots.rollouts.rollout import Group, Rollout, joined

REWARDS = [[1.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.3, 0.9, 0.5]]
"""Of 2, 6, 3 and 3 completions; the third group has no signal."""


def groups():
    rng, token, made = np.random.default_rng(0), 0, []
    for row, rewards in enumerate(REWARDS):
        rollouts = []
        for _ in rewards:
            length = int(rng.integers(1, 9))
            # Every token occurs once, so that its gradient can be told from the others'.
            ids = np.arange(token, token + length, dtype=np.int32)
            rollouts.append(Rollout(ids, -np.ones(length, np.float32), "", True, 0, "c0ffee"))
            token += length
        made.append(Group(row, np.full(3, 999, np.int32), rollouts, np.array(rewards)))
    return made


def gradients(batch, loss, **options):
    """∂loss/∂log π of every token at π = old = sampler, by token, from micro-batches on two ranks."""
    found = {}
    for part in make_rank_batches(batch, loss, 2, 30, max_tokens=10, **options):
        for micro in part.micro_batches:
            mask = torch.tensor(micro.mask)
            logprobs = torch.full(mask.shape, -1.0, requires_grad=True)
            old = logprobs.detach().clone()
            given = (torch.tensor(micro.advantages), mask, Clip(0.2, 0.2), part.scale)
            loss(logprobs, LossBatch(old, torch.ones_like(mask), *given)).backward()
            values = logprobs.grad.flatten()[torch.tensor(micro.slots)].tolist()
            weights = mask.flatten()[torch.tensor(micro.slots)].tolist()
            for token, value, weight in zip(micro.targets.tolist(), values, weights, strict=True):
                if weight:
                    found[token] = found.get(token, 0.0) + value
    return found


def written_out(batch, loss, group_weights):
    """-A·(what the loss divides a token by), group by group."""
    sizes = [len(group.rollouts) for group in batch]
    tokens = sum(len(rollout.token_ids) for group in batch for rollout in group.rollouts)
    found = {}
    for group, size in zip(batch, sizes, strict=True):
        for rollout, advantage in zip(group.rollouts, loss.advantages(group.rewards), strict=True):
            length = len(rollout.token_ids)
            # 1/B of the batch to each group and 1/n of it to each completion, or 1/N to each completion of the batch.
            each = 1 / (len(batch) * size) if group_weights == "task" else 1 / sum(sizes)
            of_token = {
                "grpo": each / length,
                "dr_grpo": each / 10,
                "dapo": each * sum(sizes) / tokens,
                "rloo": each,
            }
            for token in rollout.token_ids.tolist():
                found[token] = {name: -advantage * share for name, share in of_token.items()}
    return found


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("group_weights", ["task", "completion"])
@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "rloo"])
def test_gradient_of_a_ragged_batch(name, group_weights, packed):
    batch, loss = groups(), make_loss(name)
    found = gradients(batch, loss, group_weights=group_weights, packed=packed)
    expected = {
        token: values[name]
        for token, values in written_out(batch, loss, group_weights).items()
        if abs(values[name]) > 0
    }
    assert found.keys() == expected.keys(), "the group without signal costs no work"
    np.testing.assert_allclose([found[t] for t in expected], list(expected.values()), rtol=1e-5)


def test_truncated_completions_are_left_out_of_the_loss_but_not_of_their_group():
    batch, loss = groups(), make_loss("grpo")
    cut = batch[1].rollouts[2]
    batch[1].rollouts[2] = replace(cut, finished=False)
    plain = gradients(batch, loss)
    masked = gradients(batch, loss, mask_truncated=True)
    assert plain.keys() - masked.keys() == set(cut.token_ids.tolist())
    # 14 completions, 13 of them in the mean; advantages stay as they were.
    for token, value in masked.items():
        assert value == pytest.approx(plain[token] * 14 / 13, rel=1e-5)
    for group in batch:
        group.rollouts = [replace(rollout, finished=False) for rollout in group.rollouts]
    assert gradients(batch, loss, mask_truncated=True) == {}


def test_groups_of_one_size_have_the_same_gradient_bit_for_bit():
    batch = [group for group in groups() if len(group.rollouts) == 3]
    loss = make_loss("grpo")
    assert gradients(batch, loss, group_weights="task") == gradients(batch, loss, group_weights="completion")


def test_metrics_of_a_ragged_batch_count_tasks_alike():
    metrics = batch_metrics(groups())
    assert metrics["etr"] == 0.75
    assert metrics["reward"] == pytest.approx((1 / 2 + 1 / 3 + 1 + 1.7 / 3) / 4)
    assert (metrics["completions"], metrics["group_size_min"], metrics["group_size_max"]) == (14, 2, 6)
    rollouts = [rollout for group in groups() for rollout in group.rollouts]
    logprobs = np.concatenate([rollout.logprobs for rollout in rollouts])
    assert metrics["entropy"] == pytest.approx(-logprobs.sum() / metrics["tokens"], rel=1e-6)
    assert metrics["completion_tokens"] == metrics["tokens"] / 14


def test_rounds_of_one_group_are_joined_in_order():
    first, second, *_ = groups()
    first.reasons, second.reasons = ["a"] * 2, ["b"] * 6
    group = joined(first, second)
    assert group.rollouts == first.rollouts + second.rollouts
    assert group.rewards.tolist() == REWARDS[0] + REWARDS[1]
    assert group.reasons == ["a"] * 2 + ["b"] * 6
    assert joined(None, second) is second
