from pathlib import Path

import pytest
import yaml

from bots import AnchorPrior
from bots.config.train import TrainConfig, load_config
from bots.config.tree import ConfigError, dump_config, parse_config

FOLDER = Path(__file__).parents[3] / "configs"
# Those of the train job; other jobs have configurations of their own.
CONFIGS = sorted(path for path in FOLDER.glob("*.yaml") if "learner" in yaml.safe_load(path.read_text()))
LAB = FOLDER / "lab.yaml"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid_and_survive_a_round_trip(path):
    config = load_config(path)
    assert parse_config(TrainConfig, yaml.safe_load(dump_config(config)), "dump") == config


def test_overrides_reach_any_key():
    config = load_config(
        LAB, ["selection.lam=0.2", "learner.lr=1e-6", "pool.sources.0.size=50", "run.name=other"]
    )
    assert (config.selection.lam, config.learner.lr, config.run.name) == (0.2, 1e-6, "other")
    assert config.pool.sources[0].size == 50
    assert load_config(LAB, ["run.name='20241123'"]).run.name == "20241123"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("selection.lambda=0.2", "selection.lambda: no such key"),
        ("selection.lam=1.5", r"selection.lam: .*less than or equal to 1 \(it is 1.5\)"),
        ("selection.p_star=0", "selection.p_star: .*greater than 0"),
        ("learner.loss=ppo", "learner.loss: .*'grpo'.*it is 'ppo'"),
        ("learner.zero_stage=4", "learner.zero_stage"),
        ("rollout.samples=1", "rollout.samples: .*greater than or equal to 2"),
        ("rollout.min_engines=3", "rollout.min_engines is 3, more than rollout.engines = 2"),
        ("rollout.gpus=1.5", "rollout.gpus is 1.5; above 1 it must be a whole number"),
        ("rollout.gpus=0.5", "lower gpu_memory_utilization to at most 0.5"),
        ("learner.gpus=inf", "learner.gpus: .*finite number"),
        ("learner.lr=.inf", "learner.lr: .*finite number"),
        ("rollout.timeout_s=inf", "rollout.timeout_s: .*finite number"),
        ("learner.betas=[0.9, 1]", "learner.betas.1: .*less than 1"),
        ("rollout.max_staleness=-1", "rollout.max_staleness"),
        ("rollout.max_tokens=128", "no room is left for a prompt"),
        ("learner.tokens_per_micro_batch=100", "less than one sample"),
        ("learner.lora.rank=0", "learner.lora.rank"),
        ("learner.weight_sync=pigeon", "learner.weight_sync: .*'broadcast'.*it is 'pigeon'"),
        ("learner.max_skipped_steps=-1", "learner.max_skipped_steps"),
        ("learner.ranks=1000", "cannot be shared by learner.ranks = 1000"),
        ("learner.gpus=2", "learner.gpus is 2"),
        ("model.attention=flash_attention_2", "needs learner.gpus = 1"),
        ("run.steps=0", "run.steps"),
        ("selection.prior=[0, 1]", "selection.prior"),
        ("selection=3", "not of the form"),
        ("nonsense", "not of the form"),
        ("run.name.first=a", "is a value, not a section"),
        ("selection.lam=[1", r"selection.lam=\[1': its value is not YAML"),
        ("pool.sources.9.size=50", "'9' is no place in a list of 1; they are counted from 0"),
        ("pool.sources.first=50", "'first' is no place in a list of 1"),
        ("pool.sources.first.size=50", "'first' is no place in a list of 1"),
    ],
)
def test_impossible_values_are_refused_by_key_and_value(override, said):
    with pytest.raises(ConfigError, match=said):
        load_config(LAB, [override])


def test_greedy_evaluation_takes_one_sample():
    assert load_config(LAB, ["evaluation.temperature=0", "evaluation.samples=1"]).evaluation.samples == 1
    said = (
        "evaluation.temperature is 0, where all completions .* but evaluation.samples is 4; set samples to 1"
    )
    with pytest.raises(ConfigError, match=said):
        load_config(LAB, ["evaluation.temperature=0", "evaluation.samples=4"])


def test_the_best_checkpoints_need_a_score():
    with pytest.raises(ConfigError, match=r"run.keep_best is true, but there is no evaluation.pool"):
        load_config(LAB, ["run.keep_best=true", "evaluation.pool=null"])


def test_a_broadcast_needs_both_sides_on_the_same_kind_of_device():
    load_config(LAB, ["learner.weight_sync=broadcast"])
    with pytest.raises(ConfigError, match="both sides must be on GPUs, or neither"):
        load_config(LAB, ["learner.weight_sync=broadcast", "rollout.gpus=1"])
    # An engine's workers each take part.
    load_config(LAB, ["learner.weight_sync=broadcast", "rollout.gpus=2", "learner.gpus=1"])


def test_a_loss_without_trust_region_takes_one_step_a_batch():
    load_config(LAB, ["learner.loss=grpo", "learner.updates_per_batch=2"])
    with pytest.raises(ConfigError, match="rloo has no trust region"):
        load_config(LAB, ["learner.loss=rloo", "learner.updates_per_batch=2"])


def test_dynamic_sampling_is_of_one_policy_version():
    assert load_config(LAB, ["selection.dynamic={}"]).selection.dynamic.oversample == 1.5
    with pytest.raises(ConfigError, match="fills up the batch of one policy version"):
        load_config(LAB, ["selection.dynamic={}", "rollout.max_staleness=1"])


def test_a_filter_that_replaces_each_group_requests_one_batch_first():
    each = load_config(LAB, ["selection.dynamic={refill: each}"]).selection.dynamic
    assert (each.refill, each.oversample) == ("each", 1.0)
    with pytest.raises(ConfigError, match=r"oversample is 1.5, but refill: each requests one task for each"):
        load_config(LAB, ["selection.dynamic={refill: each, oversample: 1.5}"])


def test_a_method_brings_its_own_settings_and_shows_them():
    mopps = load_config(LAB, ["selection.selector=mopps"]).selection
    assert (mopps.lam, mopps.rho, mopps.evidence) == (0.0, 0.0, "none")
    with pytest.raises(ConfigError, match=r"mopps.*lam=0.0, but 0.3"):
        load_config(LAB, ["selection.selector=mopps", "selection.lam=0.3"])


def test_a_prior_from_the_reference_pass_rates_says_what_they_weigh():
    selection = load_config(LAB, ["selection.prior={strength: 8}"]).selection
    assert selection.settings(8, 0)["prior"] == AnchorPrior(8.0, 0.5)
    assert selection.having(cooldown=3).prior == AnchorPrior(8.0, 0.5)
    assert selection.model_dump(mode="json")["prior"] == {"strength": 8.0, "capability": 0.5}
    for given, said in (("{strength: -1}", "strength of the anchor prior is -1"), ("{weight: 8}", "weight")):
        with pytest.raises(ConfigError, match=said):
            load_config(LAB, [f"selection.prior={given}"])


def test_every_fault_is_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        load_config(LAB, ["selection.lam=2", "selection.rho=-1"])
    assert "selection.lam" in str(caught.value)
    assert "selection.rho" in str(caught.value)


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("run: [")
    with pytest.raises(ConfigError, match=r"broken\.yaml cannot be read as YAML"):
        load_config(broken)
    broken.write_bytes(b"run: {name: \xff}")
    with pytest.raises(ConfigError, match=r"broken\.yaml cannot be read as YAML"):
        load_config(broken)
    broken.write_text("3")
    with pytest.raises(ConfigError, match="holds int"):
        load_config(broken)


def test_every_key_is_documented():
    for section in TrainConfig.model_fields.values():
        if hasattr(section.annotation, "model_fields"):
            for name, field in section.annotation.model_fields.items():
                if section.annotation.__module__.startswith("bots.config."):
                    assert field.description, f"{section.annotation.__name__}.{name} has no docstring"
