"""The DeepSpeed group on real ranks, at every ZeRO stage, compared with plain PyTorch."""

from pathlib import Path

import numpy as np
import pytest
import ray.train
import torch
from transformers import AutoModelForCausalLM

from actors.loading import loading
from bots.config.train import LearnerConfig, LoraConfig, ModelConfig
from bots.lab.checkpoints import checkpoint_path
from bots.learning.advantages import group_normalised
from bots.learning.batching import make_rank_batches
from bots.rollouts.rollout import Group, Rollout

pytestmark = pytest.mark.slow
BASE = str(checkpoint_path("base"))
LR = 1e-3
# (ZeRO stage, LoRA)
KINDS = [(0, False), (1, False), (2, False), (3, False), (0, True), (3, True)]


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


def shards_for(ranks, packed=False):
    # A small token budget: several micro-batches per rank, so that gradient accumulation is tested too.
    return make_rank_batches(some_groups(), "grpo", ranks, 40, max_tokens=16, packed=packed)


def answer_logprobs(model, prompt, answer):
    ids = torch.from_numpy(np.concatenate([prompt, answer])).long()[None]
    logprobs = torch.log_softmax(model(ids).logits[0, :-1], -1).gather(-1, ids[0, 1:, None])
    return logprobs[len(prompt) - 1 :, 0]


def plain_steps(updates=1):
    """Textbook GRPO: one completion at a time, no padding, no sharding. Returns the new weights."""
    groups = some_groups()
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
    count = sum(len(group.rollouts) for group in groups)
    old = {}
    for _ in range(updates):
        optimizer.zero_grad()
        for group in groups:
            for i, advantage in enumerate(group_normalised(group.rewards)):
                rollout = group.rollouts[i]
                logprobs = answer_logprobs(model, group.prompt_ids, rollout.token_ids)
                start = old.setdefault((group.row, i), logprobs.detach())
                weights = torch.exp(start - torch.from_numpy(rollout.logprobs)).clamp(max=2.0)
                ratio = torch.exp(logprobs - start)
                surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
                (-(weights * surrogate).mean() / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}


def learner_of(ranks, stage=0, lora=False, model=None, **changes):
    with loading():
        from actors.learner import Learner

    adapters = LoraConfig(rank=4, alpha=8.0) if lora else None
    config = LearnerConfig(
        ranks=ranks, zero_stage=stage, lr=LR, lora=adapters, collective_timeout_s=77, **changes
    )
    torch.manual_seed(0)
    return Learner(BASE, ModelConfig(path=BASE, **(model or {})), config, temperature=1.0)


def weights_of(learner):
    return dict(pair for bucket in learner.weight_buckets(2**18) for pair in bucket)


def two_ranks(folder):
    """For every kind of learner: a step, two steps that must be skipped, a checkpoint, and one more step."""
    rank = ray.train.get_context().get_world_rank()
    results = {}
    for stage, lora in KINDS:
        learner = learner_of(2, stage, lora)
        first = learner.update(shards_for(2)[rank], step=1)
        stepped = weights_of(learner)

        poisoned = shards_for(2)[rank]
        if rank == 1:
            poisoned.micro_batches[0].sampler_logprobs[:] = np.nan
        broken_loss = learner.update(poisoned, step=2)
        parameter = next(p for p in learner.engine.module.parameters() if p.requires_grad)
        hook = parameter.register_hook(lambda gradient: gradient * torch.inf if rank == 0 else gradient)
        broken_gradient = learner.update(shards_for(2)[rank], step=3)
        hook.remove()

        place = Path(folder) / f"{stage}{lora}"
        if rank == 0:
            place.mkdir()
        torch.distributed.barrier()
        snapshot = learner.snapshot(place)
        skipped = weights_of(learner)
        last = learner.update(shards_for(2)[rank], step=4)
        # What is written now is the state of before that step, which one rank, below, loads and then makes itself.
        assert not any(path.exists() for path, _ in snapshot.states)
        assert all(path.stat().st_size for path in snapshot.write())
        group = learner.engine.data_parallel_group._get_backend(torch.device("cpu"))
        results[stage, lora] = {
            "limit": group.options._timeout.total_seconds(),
            "first": first,
            "stepped": stepped,
            "skips": [broken_loss, broken_gradient],
            "skipped": skipped,
            "last": last,
            "ended": weights_of(learner),
        }
    return results | packed_steps(rank) | steps_of_small_addends(rank)


def packed_steps(rank):
    """One step of each kind with packed samples and the vocabulary in blocks; bfloat16 with everything on at once."""
    from bots.learning.logprobs import LogprobHead

    results = {}
    # 36 tokens in blocks of a few tokens; some blocks are kept.
    LogprobHead.block_bytes, LogprobHead.kept_bytes = 4 * 30 * 5, 4 * 30 * 12
    for kind in KINDS:
        learner = learner_of(2, *kind, packing=True)
        figures = learner.update(shards_for(2, learner.packed)[rank], step=1)
        results["packed", kind] = (figures, weights_of(learner))
    for packing in (False, True):
        half = {"dtype": "bfloat16", "gradient_checkpointing": True}
        learner = learner_of(2, 3, True, half, packing=packing, kl_coefficient=0.1)
        figures = learner.update(shards_for(2, packing)[rank], step=1)
        results["half", packing] = (figures, weights_of(learner))
    return results


def steps_of_small_addends(rank):
    """Steps in bfloat16 whose gradient is 1 + 2^-10 - 1 in one parameter and 0 elsewhere, summed over both ranks."""
    results = {}
    for stage in range(4):
        learner = learner_of(2, stage, model={"dtype": "bfloat16"}, grad_clip=0.0)
        shard = shards_for(2)[rank]
        assert len(shard.micro_batches) >= 2
        addends = [[1.0, 2**-10], [0.0, -1.0]][rank] + [0.0] * (len(shard.micro_batches) - 2)
        for name, parameter in learner.engine.module.named_parameters():
            mine = iter(addends if name == "model.norm.weight" else [0.0] * len(addends))
            parameter.register_hook(lambda gradient, mine=mine: torch.full_like(gradient, next(mine)))
        results["addends", stage] = learner.update(shard, step=1)["grad_norm"]
    return results


def one_rank(folder):
    """Loads what two ranks saved, then tests what a single rank can show."""
    results = {}
    for stage, lora in KINDS:
        learner = learner_of(1, stage, lora)
        learner.load(Path(folder) / f"{stage}{lora}")
        loaded = weights_of(learner)
        figures = learner.update(shards_for(1)[0], step=4)
        results[stage, lora] = {"loaded": loaded, "figures": figures, "ended": weights_of(learner)}

    again = learner_of(1, model={"gradient_checkpointing": True})
    results["checkpointing"] = (again.update(shards_for(1)[0], 1), weights_of(again))
    twice = learner_of(1, updates_per_batch=2)
    results["twice"] = (twice.update(shards_for(1)[0], 1), weights_of(twice))

    stubborn = learner_of(1, max_skipped_steps=1)
    poisoned = shards_for(1)[0]
    poisoned.micro_batches[-1].advantages[:] = np.inf
    stubborn.update(poisoned, 1)
    stubborn.update(shards_for(1)[0], 2)
    stubborn.update(poisoned, 3)
    with pytest.raises(FloatingPointError) as caught:
        stubborn.update(poisoned, 4)
    results["stopped"] = str(caught.value)
    with pytest.raises(ValueError, match="zero_stage") as caught:
        stubborn.load(Path(folder) / "3False")
    results["other stage"] = str(caught.value)
    with pytest.raises(FileNotFoundError, match="no learner state"):
        stubborn.load(Path(folder))

    from actors.learner_checkpoint import Snapshot

    with pytest.raises(OSError, match="No space") as caught:
        Snapshot([(Path("/dev/full"), {"weight": torch.zeros(2**18)})]).write()
    results["full"] = str(caught.value)

    half = learner_of(1, 2, model={"dtype": "bfloat16"})
    results["half"] = (half.update(shards_for(1)[0], 1), half.update(poisoned, 2), weights_of(half))
    return results


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("learner")


@pytest.fixture(scope="module")
def pair(run_group, folder):
    return run_group(2, two_ranks, str(folder))


@pytest.fixture(scope="module")
def single(run_group, folder, pair):
    return run_group(1, one_rank, str(folder))


@pytest.fixture(scope="module")
def start():
    return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).state_dict()


def assert_same_step(weights, expected, start, updates=1):
    assert set(weights) == set(expected)
    for name, tensor in weights.items():
        # Adam's first steps are lr · sign(g): compare only where the gradient is well above rounding errors.
        clear = (expected[name] - start[name]).abs() > 0.99 * LR * updates
        agree = (tensor - expected[name]).abs() < 0.05 * LR * updates
        assert agree[clear].float().mean() > 0.99, name


def test_deepspeeds_own_group_has_the_limit_of_the_configuration(pair):
    assert {pair[kind]["limit"] for kind in KINDS} == {77}, "torch's is half an hour"


def same(one, other):
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_every_zero_stage_takes_the_step_of_plain_pytorch(pair, start, stage):
    found = pair[stage, False]
    assert_same_step(found["stepped"], plain_steps(), start)
    assert found["first"]["grad_norm"] > 0
    assert found["first"]["lr"] == LR


@pytest.mark.parametrize("kind", KINDS)
def test_packed_samples_and_a_vocabulary_in_blocks_give_the_same_step(pair, start, kind):
    padded, (packed, weights) = pair[kind], pair["packed", kind]
    assert packed["loss"] == pytest.approx(padded["first"]["loss"], rel=1e-4)
    assert packed["grad_norm"] == pytest.approx(padded["first"]["grad_norm"], rel=1e-4)
    assert packed["mismatch_kl"] == pytest.approx(padded["first"]["mismatch_kl"], rel=1e-4)
    if kind[1]:
        assert max((weights[name] - t).abs().max() for name, t in padded["stepped"].items()) < 1e-5
    else:
        assert_same_step(weights, padded["stepped"], start)


def test_bfloat16_zero_3_checkpointing_lora_and_a_penalty_go_together_packed_or_not(pair, start):
    (padded, one), (packed, other) = pair["half", False], pair["half", True]
    assert packed["grad_norm"] == pytest.approx(padded["grad_norm"], rel=0.05)
    assert packed["mismatch_kl"] == pytest.approx(padded["mismatch_kl"], rel=0.05)
    # The penalty has no gradient yet: the adapters start as nothing.
    assert packed["grad_norm"] == pytest.approx(pair[3, True]["first"]["grad_norm"], rel=0.05)
    assert {tensor.dtype for tensor in other.values()} == {torch.bfloat16}
    name = "model.layers.0.mlp.down_proj.weight"
    in_float32 = (pair[3, True]["stepped"][name] - start[name]).flatten()
    moved, meant = ((w[name].float() - start[name].bfloat16().float()).flatten() for w in (other, one))
    assert meant.abs().max() > 0
    assert torch.nn.functional.cosine_similarity(moved, meant, dim=0) > 0.9
    assert torch.nn.functional.cosine_similarity(moved, in_float32, dim=0) > 0.5


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_gradients_in_bfloat16_are_summed_in_float32_over_micro_batches_and_ranks(pair, start, stage):
    # In bfloat16, 1 + 2^-10 is 1 and 1 - 2^-10 is 1, so a sum over micro-batches or ranks would be 0.
    assert pair["addends", stage] == pytest.approx(
        2**-11 * start["model.norm.weight"].numel() ** 0.5, rel=1e-3
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_is_not_finite_is_skipped_on_all_ranks(pair, kind):
    found = pair[kind]
    assert [figures["skipped_updates"] for figures in found["skips"]] == [1.0, 1.0]
    assert [figures["broken_micro_batches"] for figures in found["skips"]] == [1.0, 0.0]
    assert not any("loss" in figures for figures in found["skips"]), "there is no loss to report"
    assert same(found["skipped"], found["stepped"])
    # The gradients of the skipped steps are gone, and the optimizer continues.
    assert found["last"]["skipped_updates"] == 0
    assert not same(found["ended"], found["skipped"])


@pytest.mark.parametrize("kind", KINDS)
def test_another_number_of_ranks_continues_from_the_same_state(pair, single, kind):
    before, after = pair[kind], single[kind]
    assert same(after["loaded"], before["skipped"])
    assert after["figures"]["loss"] == pytest.approx(before["last"]["loss"], rel=1e-4)
    for name, tensor in before["ended"].items():
        # With different optimizer moments, this step would be off by about the learning rate.
        assert (after["ended"][name] - tensor).abs().max() < 0.01 * LR, name


def test_activation_checkpointing_changes_nothing_but_memory(single, start):
    figures, weights = single["checkpointing"]
    assert_same_step(weights, plain_steps(), start)
    assert figures["skipped_updates"] == 0


def test_further_steps_on_a_batch_are_clipped_around_its_start(single, start):
    figures, weights = single["twice"]
    assert_same_step(weights, plain_steps(updates=2), start, updates=2)
    assert 0 < figures["clip_share"] < 1


def test_skips_in_a_row_end_the_run_with_the_keys_to_turn(single):
    assert "step 4" in single["stopped"]
    assert "2 consecutive steps (learner.max_skipped_steps = 1)" in single["stopped"]
    assert "learner.lr (it is 0.001)" in single["stopped"]


def test_a_checkpoint_of_another_stage_is_refused(single):
    assert "learner.zero_stage = 3, now it is 0" in single["other stage"]


def test_a_disk_that_fills_up_while_a_checkpoint_is_written_is_named(single):
    assert "No space left on device, while a checkpoint was written" in single["full"]
    assert "run.checkpoints_kept" in single["full"]
    assert "/dev/full" in single["full"]


def test_bfloat16_learns_and_skips_too(single, start):
    first, broken, weights = single["half"]
    assert (first["skipped_updates"], broken["skipped_updates"]) == (0.0, 1.0)
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    expected = plain_steps()
    name = "model.layers.0.mlp.down_proj.weight"
    moved, meant = (weights[name].float() - start[name]).flatten(), (expected[name] - start[name]).flatten()
    assert torch.nn.functional.cosine_similarity(moved, meant, dim=0) > 0.5


def test_adapters_are_handed_out_merged(pair, start):
    for stage in (0, 3):
        weights = pair[stage, True]["stepped"]
        assert set(weights) == {name for name in start if name != "lm_head.weight"}
        changed = {name for name, tensor in weights.items() if not torch.equal(tensor, start[name])}
        assert changed
        assert all(name.endswith("_proj.weight") for name in changed)
    assert (
        max((pair[0, True]["stepped"][n] - t).abs().max() for n, t in pair[3, True]["stepped"].items()) < 1e-5
    )
