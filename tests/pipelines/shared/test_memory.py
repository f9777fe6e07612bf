"""A run that does not fit into memory is refused before Ray starts."""

import pytest
import torch

from bots.config.tree import ConfigError
from bots.lab.checkpoints import checkpoint_path
from bots.learning import memory_plan
from bots.learning.footprint import footprint
from pipelines.shared import memory
from pipelines.shared.preflight import load_inputs


def test_a_dry_run_shows_the_plan(small_job):
    lines = load_inputs(small_job()).summary_lines()
    assert any(line.startswith("memory plan, GiB (0.3 M parameters, float32)") for line in lines)
    assert any("learner rank" in line for line in lines)


def test_a_machine_with_too_little_memory_is_told_the_sum_and_the_key(small_job, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(memory, "host_bytes", lambda: 2**30)
    with pytest.raises(
        ConfigError,
        match=r"needs .* = 1 x .*this machine has 1.0.*smaller with a smaller rollout.kv_cache_gib",
    ):
        load_inputs(small_job("rollout.kv_cache_gib=3"))
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    load_inputs(small_job("rollout.kv_cache_gib=3"))


def test_weights_on_their_way_count_on_one_machine(small_job, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = small_job("learner.weight_sync=broadcast")
    sizes = footprint(str(checkpoint_path("base")), torch.float32)
    needs = memory_plan.learner_rank(config, sizes, False), memory_plan.engine(config, sizes).need
    others = sum(need.bytes for need in (*needs, memory_plan.learner_nodes(config, sizes)))
    one = 4 * sizes.parameters
    monkeypatch.setattr(memory, "host_bytes", lambda: others + 3.4 * one)
    with pytest.raises(ConfigError, match=r"1 x 0.0 \(new weights on their way\)"):
        load_inputs(config)
    load_inputs(small_job())
    monkeypatch.setattr(memory, "host_bytes", lambda: others + 3.6 * one)
    load_inputs(config)


def test_a_gpu_that_is_too_small_is_refused(small_job):
    gpus = ["learner.gpus=1", "rollout.gpus=1", "run.gpu_memory_gib=0.25"]
    with pytest.raises(ConfigError, match=r"a GPU of an engine needs .*gpu_memory_utilization"):
        load_inputs(small_job(*gpus, "learner.tokens_per_micro_batch=128", "rollout.max_model_len=128"))


def test_the_memory_of_a_container_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "memory.max")
    whole = memory.host_bytes()
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory.host_bytes() == 1000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.host_bytes() == whole > 2**30


def test_flash_attention_without_its_package_is_refused_with_the_way_out(small_job):
    flash = ["model.attention=flash_attention_2", "learner.gpus=1", "rollout.gpus=1"]
    with pytest.raises(ConfigError, match=r"flash_attention_2.*flash-attn or kernels; sdpa needs neither"):
        load_inputs(small_job(*flash, "model.dtype=bfloat16"))
    with pytest.raises(ConfigError, match=r"knows no float32, and that is model.dtype; set model.dtype=bfl"):
        small_job(*flash)


def test_nucleus_sampling_of_training_rollouts_is_refused(small_job):
    with pytest.raises(ConfigError, match=r"rollout.top_p is 0.9.*set it to 1"):
        small_job("rollout.top_p=0.9")
