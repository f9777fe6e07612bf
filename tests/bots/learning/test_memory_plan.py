"""The memory plan's arithmetic; `python -m benchmarks.memory` holds it against real steps."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from benchmarks.memory import SIZES, job
from bots.config.train import load_config
from bots.learning.footprint import footprint
from bots.learning.memory_plan import (
    GIB,
    checkpoint,
    engine,
    engine_node,
    learner_nodes,
    learner_rank,
    logits_bytes,
    rank_0_node,
    table,
    too_large,
)

ONE_NODE = Path(__file__).parents[3] / "configs" / "guru_math_7b_one_node.yaml"
SMALL = {
    "vocab_size": 500, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def qwen_7b(tmp_path_factory):
    """The shape of Qwen2.5-7B, without weights."""
    folder = tmp_path_factory.mktemp("7b")
    Qwen2Config(
        vocab_size=152_064, hidden_size=3584, intermediate_size=18_944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4, tie_word_embeddings=False,
    ).save_pretrained(folder)  # fmt: skip
    return footprint(str(folder), torch.bfloat16)


@pytest.mark.parametrize("tied", [False, True])
def test_what_is_counted_on_the_meta_device_is_what_a_real_forward_pass_keeps(tmp_path, tied):
    config = Qwen2Config(**SMALL, tie_word_embeddings=tied)
    config.save_pretrained(tmp_path)
    found = footprint(str(tmp_path), torch.float32)
    model = AutoModelForCausalLM.from_config(config)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.largest == 500 * 64
    assert found.kv_values == 2 * 3 * 2 * 16

    kept, parameters = {}, {p.data_ptr() for p in model.parameters()}

    def pack(tensor):
        if (start := tensor.untyped_storage().data_ptr()) not in parameters:
            kept[start] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.model(input_ids=torch.zeros(1, 100, dtype=torch.long), use_cache=False)
    measured = sum(size for size, _ in kept.values())
    assert 100 * (3 * found.layer_bytes + found.other_bytes) == pytest.approx(measured, rel=0.15)


# (size, tokens, stage, dtype, packed and checkpointed, MiB measured by `benchmarks.memory`'s steps, one rank on a CPU)
MEASURED = [
    ("10", 512, 0, "float32", False, False, 370),
    ("10", 512, 0, "float32", True, False, 337),
    ("10", 512, 1, "float32", False, False, 409),
    ("10", 512, 2, "float32", False, False, 409),
    ("10", 512, 3, "float32", False, False, 449),
    ("10", 512, 0, "bfloat16", True, True, 264),
    ("10", 512, 1, "bfloat16", True, True, 281),
    ("10", 512, 2, "bfloat16", True, True, 264),
    ("10", 512, 3, "bfloat16", True, True, 343),
    ("135", 1024, 0, "float32", False, False, 3848),
    ("135", 512, 0, "float32", True, False, 3057),
    ("135", 512, 2, "bfloat16", True, True, 3356),
    ("135", 512, 3, "bfloat16", True, True, 4393),
]


@pytest.mark.parametrize(("size", "tokens", "stage", "dtype", "packed", "again", "measured"), MEASURED)
def test_the_plan_is_within_15_percent_of_what_was_measured(
    tmp_path, size, tokens, stage, dtype, packed, again, measured
):
    Qwen2Config(tie_word_embeddings=True, **SIZES[size]).save_pretrained(tmp_path)
    case = Namespace(stage=stage, tokens=tokens, dtype=dtype, packing=packed, checkpointing=again)
    planned = learner_rank(job(str(tmp_path), case), footprint(str(tmp_path), getattr(torch, dtype)), packed)
    assert planned.bytes / 2**20 == pytest.approx(measured, rel=0.15)


def test_7b_fits_one_node_of_80_gb_and_not_without_sharding(qwen_7b):
    config = load_config(ONE_NODE)
    assert qwen_7b.parameters == pytest.approx(7.6e9, rel=0.01)
    assert too_large(config, qwen_7b, packed=True) is None
    refused = too_large(load_config(ONE_NODE, ["learner.zero_stage=0"]), qwen_7b, packed=True)
    assert "a learner rank needs" in refused
    assert "run.gpu_memory_gib is 79" in refused
    assert "learner.zero_stage=1" in refused
    long = ["learner.tokens_per_micro_batch=400000"]
    assert "tokens_per_micro_batch (at least 12288)" in too_large(load_config(ONE_NODE, long), qwen_7b, True)


def test_an_engine_that_can_not_hold_the_weights_is_refused(qwen_7b):
    small = ["run.gpu_memory_gib=16", "learner.ranks=64", "selection.tasks=64"]
    assert "more rollout.gpus" in too_large(load_config(ONE_NODE, small), qwen_7b, packed=True)
    assert engine(load_config(ONE_NODE), qwen_7b).full_length == pytest.approx(80, rel=0.2)


def test_gpus_that_outnumber_the_key_value_heads_hold_one_each(qwen_7b):
    one, two, eight = (
        engine(load_config(ONE_NODE, [f"rollout.gpus={gpus}"]), qwen_7b).need.parts for gpus in (1, 2, 8)
    )
    assert (one[0].bytes / two[0].bytes, one[0].bytes / eight[0].bytes) == (2, 8)
    assert (one[2].bytes / two[2].bytes, one[2].bytes / eight[2].bytes) == (2, 4), "it has four"


def test_the_way_out_is_one_that_helps(qwen_7b):
    def said(*overrides):
        return too_large(load_config(ONE_NODE, ["run.gpu_memory_gib=20", *overrides]), qwen_7b, packed=True)

    assert "smaller with more learner.ranks" in said(), "it is at ZeRO-3 already"
    assert "smaller with learner.zero_stage=1 with more learner.ranks or" in said(
        "learner.zero_stage=0", "learner.ranks=1"
    )
    # All there is, and that for one sample.
    assert "smaller with a smaller rollout.max_model_len" in said(
        "learner.ranks=64",
        "learner.lora={}",
        "rollout.max_model_len=100000",
        "learner.tokens_per_micro_batch=100000",
    )


def test_a_card_that_is_nearly_full_is_warned_of(qwen_7b):
    need = learner_rank(load_config(ONE_NODE), qwen_7b, True).bytes / GIB
    for share, warned in ((0.92, True), (0.88, False)):
        lines = table(load_config(ONE_NODE, [f"run.gpu_memory_gib={need / share}"]), qwen_7b, True)
        assert any("less than a tenth left" in line for line in lines) == warned


def test_logits_of_16k_tokens_take_less_than_2_gib_where_the_plain_form_takes_41_gb(qwen_7b):
    config = load_config(ONE_NODE, ["learner.tokens_per_micro_batch=16384"])
    assert logits_bytes(config, qwen_7b, packed=True) < 2 * GIB


def test_a_checkpoint_takes_14_bytes_a_parameter(qwen_7b):
    config = load_config(ONE_NODE)
    assert checkpoint(config, qwen_7b).bytes == 3 * 14 * qwen_7b.parameters
    # While one is written, it is in the memory of the learner's nodes too.
    assert learner_nodes(config, qwen_7b).bytes == 14 * qwen_7b.parameters


def test_new_weights_lie_on_rank_0s_node_and_a_broadcast_is_copied_there_too(qwen_7b):
    stored, sent = (
        load_config(ONE_NODE, [f"learner.weight_sync={by}"]) for by in ("object_store", "broadcast")
    )
    one = 2 * qwen_7b.parameters
    assert rank_0_node(stored, qwen_7b).bytes == 2.5 * one
    assert rank_0_node(sent, qwen_7b).bytes == 3.5 * one
    assert (engine_node(stored, qwen_7b).bytes, engine_node(sent, qwen_7b).bytes) == (2 * one, one)
    lines = table(sent, qwen_7b, True)
    (at,) = [i for i, line in enumerate(lines) if "node of rank 0" in line]
    assert [line.split()[-1] for line in lines[at : at + 3]] == ["49.65", "35.46", "14.19"]
    assert "copy of a broadcast" in lines[at + 2]
    assert not any("driver" in line for line in lines), "the driver's node holds none"


def test_more_ranks_and_checkpointing_make_a_rank_smaller(qwen_7b):
    base = learner_rank(load_config(ONE_NODE), qwen_7b, True).bytes
    changes = ["learner.ranks=8"], ["model.gradient_checkpointing=false"], ["learner.lora={}"]
    more, kept, adapters = (learner_rank(load_config(ONE_NODE, c), qwen_7b, True).bytes for c in changes)
    assert adapters < more < base < kept
    lines = "\n".join(table(load_config(ONE_NODE), qwen_7b, True))
    assert "learner rank" in lines
    assert "completions of full length (12288 tokens)" in lines
