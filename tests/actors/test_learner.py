"""The DeepSpeed group, on two real ranks and at every ZeRO stage, held against a plain PyTorch step."""

import sys

import numpy as np
import pytest
import ray
import ray.train
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from transformers import AutoModelForCausalLM

from actors.environment import learner_environment
from bots.config import LearnerConfig, ModelConfig
from bots.lab.checkpoints import checkpoint_path
from bots.learning.advantages import group_normalised
from bots.learning.batching import make_shards
from bots.learning.rollouts import Group, Rollout

pytestmark = pytest.mark.slow
# Test modules are not installed where Ray's workers could import them.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
BASE = str(checkpoint_path("base"))
LR = 1e-3


def some_groups():
    rng = np.random.default_rng(5)
    groups = []
    for row in range(6):
        rollouts = [
            Rollout(
                rng.integers(3, 30, n).astype(np.int32), np.full(n, -1.0, np.float32), "", True, 0, "c0ffee"
            )
            for n in rng.integers(3, 12, 4)
        ]
        groups.append(Group(row, rng.integers(3, 30, 5 + row).astype(np.int32), rollouts, rng.random(4)))
    return groups


def plain_step(groups):
    """GRPO by the book: one answer at a time, no padding, no sharding. Returns the new weights."""
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
    count = sum(len(group.rollouts) for group in groups)
    for group in groups:
        for rollout, advantage in zip(group.rollouts, group_normalised(group.rewards), strict=True):
            ids = torch.from_numpy(np.concatenate([group.prompt_ids, rollout.token_ids])).long()[None]
            logprobs = torch.log_softmax(model(ids).logits[0, :-1], -1).gather(-1, ids[0, 1:, None])
            logprobs = logprobs[len(group.prompt_ids) - 1 :, 0]
            weights = torch.exp(logprobs.detach() - torch.from_numpy(rollout.logprobs)).clamp(max=2.0)
            # The ratio is one, and its gradient that of the log-probability.
            (-(weights * logprobs).mean() * float(advantage) / count).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}


def two_rank_loop(settings):
    import torch.distributed as dist

    from actors.learner import Learner

    learner = Learner(BASE, ModelConfig(path=BASE), settings["config"], temperature=1.0)
    figures = learner.update(settings["shards"][dist.get_rank()], step=1)
    weights = [pair for bucket in learner.weight_buckets(2**18) for pair in bucket]
    if dist.get_rank() == 0:
        ray.get(settings["box"].put.remote((figures, weights)))


@ray.remote(num_cpus=0)
class Box:
    def put(self, value):
        self.value = value

    def get(self):
        return self.value


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_every_zero_stage_takes_the_step_of_plain_pytorch(cluster, tmp_path, stage):
    groups = some_groups()
    config = LearnerConfig(ranks=2, zero_stage=stage, lr=LR, cpus=0.5)
    # A small token budget: several micro-batches a rank, so that gradient accumulation is tested too.
    shards = make_shards(groups, "grpo", 2, 40, max_tokens=16)
    assert len(shards[0].micro_batches) > 2
    box = Box.remote()
    TorchTrainer(
        two_rank_loop,
        train_loop_config={"config": config, "shards": shards, "box": box},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
        torch_config=TorchConfig(backend="gloo"),
        run_config=RunConfig(
            storage_path=str(tmp_path), worker_runtime_env={"env_vars": learner_environment(1, False)}
        ),
    ).fit()
    figures, weights = ray.get(box.get.remote())
    expected = plain_step(groups)
    assert {name for name, _ in weights} == set(expected)
    start = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).state_dict()
    for name, tensor in weights:
        # Adam's first step is lr · sign(g): compare where the gradient is clear of rounding.
        moved = (expected[name] - start[name]).abs()
        agree = (tensor - expected[name]).abs() < 0.05 * LR
        assert agree[moved > 0.99 * LR].float().mean() > 0.99, name
    assert figures["grad_norm"] > 0
    assert figures["lr"] == LR
