"""Packed micro-batches, against every sample by itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Gemma2Config, MistralConfig, Qwen2Config, Qwen3NextConfig

from bots.config.train import LearnerConfig, ModelConfig
from bots.config.tree import ConfigError
from bots.learning import packed_attention
from bots.learning.batching import make_rank_batches
from bots.learning.forward import micro_batch_logprobs
from bots.learning.logprobs import install_head
from bots.learning.policy import packs
from bots.rollouts.rollout import Group, Rollout

SMALL = {
    "vocab_size": 60, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
CPU = torch.device("cpu")


def groups_of(lengths, prompt=5):
    rng = np.random.default_rng(0)
    return [
        Group(
            row,
            rng.integers(0, 60, prompt + row).astype(np.int32),
            [
                Rollout(rng.integers(0, 60, n).astype(np.int32), -np.ones(n, np.float32), "", True, 0, "")
                for n in of_group
            ],
            np.arange(len(of_group), dtype=float),
        )
        for row, of_group in enumerate(lengths)
    ]


def model_of(config, attention):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return model, install_head(model)


@pytest.mark.parametrize("config", [Qwen2Config(**SMALL), MistralConfig(**SMALL, sliding_window=4)])
def test_packed_samples_give_the_log_probabilities_and_gradients_of_each_alone(config):
    groups = groups_of([[7, 3], [9, 1, 4]])
    (packed,) = make_rank_batches(groups, "grpo", 1, 200, max_tokens=10, packed=True)
    (batch,) = packed.micro_batches
    model, head = model_of(config, packed_attention.register())
    found = micro_batch_logprobs(model, head, batch, 0.9, CPU)
    (found * torch.from_numpy(batch.mask)).sum().backward()

    alone, _ = model_of(config, "sdpa")
    total = torch.tensor(0.0)
    begins = np.cumsum(batch.lengths) - batch.lengths
    for i, (begin, length) in enumerate(zip(begins, batch.lengths, strict=True)):
        ids = torch.from_numpy(batch.token_ids[0, begin : begin + length])
        size = int(batch.mask[i].sum())
        logits = alone(input_ids=ids[None]).logits[0, length - size - 1 : -1] / 0.9
        expected = torch.log_softmax(logits, -1).gather(1, ids[length - size :, None])[:, 0]
        torch.testing.assert_close(found[i, :size], expected, rtol=0, atol=1e-5)
        total = total + expected.sum()
    total.backward()
    for (name, mine), theirs in zip(model.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("large", [False, True])
def test_padded_samples_give_the_same_as_packed_ones(monkeypatch, large):
    if large:
        monkeypatch.setattr("bots.learning.forward.PLAIN_BYTES", 0)
    groups = groups_of([[7, 3], [9, 1, 4]])
    model, head = model_of(Qwen2Config(**SMALL), "sdpa")
    (padded,) = make_rank_batches(groups, "grpo", 1, 200, max_tokens=10)
    (packed,) = make_rank_batches(groups, "grpo", 1, 200, max_tokens=10, packed=True)
    of_padded = micro_batch_logprobs(model, head, padded.micro_batches[0], 1.0, CPU)
    model.set_attn_implementation(packed_attention.register())
    of_packed = micro_batch_logprobs(model, head, packed.micro_batches[0], 1.0, CPU)
    rows = [of_padded[i][padded.micro_batches[0].mask[i] > 0] for i in range(len(of_padded))]
    for i, row in enumerate(rows):
        torch.testing.assert_close(row, of_packed[i, : len(row)], rtol=0, atol=1e-5)


@settings(deadline=None)
@given(
    lengths=st.lists(st.lists(st.integers(1, 30), min_size=2, max_size=5), min_size=1, max_size=6),
    ranks=st.integers(1, 4),
    budget=st.integers(41, 200),
)
def test_packing_learns_every_token_once_and_counts_real_tokens(lengths, ranks, budget):
    groups = groups_of(lengths)
    shards = make_rank_batches(groups, "grpo", ranks, budget, max_tokens=30, packed=True)
    padded = make_rank_batches(groups, "grpo", ranks, budget, max_tokens=30)
    assert len({len(shard.micro_batches) for shard in shards}) == 1
    assert len(shards[0].micro_batches) <= len(padded[0].micro_batches)
    assert shards[0].scale == padded[0].scale
    seen = []
    for batch in (m for shard in shards for m in shard.micro_batches):
        assert batch.token_ids.size == batch.lengths.sum() <= budget
        weights = batch.mask.reshape(-1)[batch.slots]
        seen += batch.targets[weights > 0].tolist()
    taught = [
        token
        for group in groups
        for rollout, reward in zip(group.rollouts, group.rewards, strict=True)
        if reward != group.rewards.mean()
        for token in rollout.token_ids.tolist()
    ]
    assert sorted(seen) == sorted(taught)


def test_a_rank_without_samples_gets_a_filler_of_no_weight():
    shards = make_rank_batches(groups_of([[4, 6]]), "grpo", 3, 1000, max_tokens=30, packed=True)
    filler = shards[2].micro_batches[0]
    assert filler.mask.sum() == 0
    assert len(filler.slots) == len(filler.positions) > 0


def test_a_model_that_does_not_say_where_samples_begin_is_refused():
    query = torch.zeros(1, 2, 4, 8)
    with pytest.raises(ValueError, match=r"learner\.packing=false"):
        packed_attention.packed_attention(torch.nn.Identity(), query, query, query, None)
    bounds = torch.tensor([0, 4], dtype=torch.int32)
    with pytest.raises(ValueError, match=r"s_aux.*learner\.packing=false"):
        packed_attention.packed_attention(
            torch.nn.Identity(), query, query, query, None, cu_seq_lens_q=bounds, max_length_q=4, s_aux=query
        )


def test_packing_is_for_gpus_unless_it_is_said_and_for_models_that_allow_it(tmp_path):
    Qwen2Config(**SMALL).save_pretrained(tmp_path / "dense")
    Qwen3NextConfig(num_hidden_layers=4).save_pretrained(tmp_path / "linear")
    dense, linear = str(tmp_path / "dense"), str(tmp_path / "linear")
    model, gpu = ModelConfig(path=dense), LearnerConfig(gpus=1)
    assert packs(dense, model, gpu)
    assert not packs(dense, model, LearnerConfig())
    assert packs(dense, model, LearnerConfig(packing=True))
    assert not packs(dense, model, gpu.model_copy(update={"packing": False}))
    assert not packs(linear, model, gpu)
    Gemma2Config(**SMALL, head_dim=8).save_pretrained(tmp_path / "capped")
    assert not packs(str(tmp_path / "capped"), model, gpu), "it caps its attention scores"
    with pytest.raises(ConfigError, match=r"linear_attention.*learner\.packing=false"):
        packs(linear, model, LearnerConfig(packing=True))
    with pytest.raises(ConfigError, match=r"eager.*learner\.packing=false"):
        packs(dense, ModelConfig(path=dense, attention="eager"), LearnerConfig(packing=True))
