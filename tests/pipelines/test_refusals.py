"""Bad input is refused before Ray starts, with the key, the value and the way out."""

import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from transformers import MambaConfig, T5Config

from bots.config.tree import ConfigError
from bots.lab.checkpoints import checkpoint_path
from bots.pool import PoolError
from pipelines.cli import main
from pipelines.shared import resources
from pipelines.shared.preflight import load_inputs

NO_ANCHORS = "pool.sources.0.anchors=null"


def parquet(tmp_path, **changes):
    columns = {"id": ["a", "b"], "prompt": ["1+1=", "2+2="], "answer": ["2", "4"], "domain": ["m", "m"]}
    columns |= {"grader": ["exact", "exact"]} | changes
    path = tmp_path / "pool.parquet"
    pq.write_table(pa.table({k: v for k, v in columns.items() if v is not None}), path)
    return f"pool.sources=[{{kind: parquet, path: {path}}}]"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.path=./nowhere"], "there is no folder ./nowhere"),
        (["model.path=lab:huge"], "unknown lab checkpoint 'huge'"),
        (
            ["rollout.max_staleness=40"],
            r"selection.tasks is 8 x \(rollout.max_staleness \+ 1\) = 328, but the pool has only 200",
        ),
        (["selection.tasks=500"], "selection.tasks is 500, but the pool has only 200"),
        (["rollout.max_model_len=4096", "learner.tokens_per_micro_batch=8192"], "goes up to"),
        (
            ["rollout.gpus=2"],
            r"rollout.gpus is 2, but .* evenly \(3 attention heads, .*; set it to 1, and start more",
        ),
        (
            ["rollout.kv_cache_gib=1e-4"],
            r"which holds \d+% of a completion .*kv_cache_gib to at least 0.00\d+",
        ),
        (
            ["pool.sources.0.split=eval", "pool.sources.0.seed=999", "pool.sources.0.anchors=null"],
            "also in the training pool",
        ),
    ],
)
def test_settings_that_do_not_fit_together(small_job, overrides, said):
    with pytest.raises((ConfigError, PoolError), match=said):
        load_inputs(small_job(*overrides))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["selection.selector=greddy"], "unknown selector 'greddy'; known are adarft, bots,"),
        (["selection.evidence=interpolate"], "unknown evidence 'interpolate'; known are attention, auto,"),
        (["selection.adaptor=pred"], "unknown adaptor 'pred'; known are predictive,"),
        (["selection.evidence_options={gama: 0.9}"], "unexpected keyword argument 'gama'"),
        (["selection.domain_shares={maths: 1}"], "the pool has the domains .'code', 'logic', 'math'."),
        (["selection.selector=offline", NO_ANCHORS], "offline selection needs a pool with anchors"),
        (["selection.prior=anchors", NO_ANCHORS], "an anchor prior needs a pool with anchors"),
    ],
)
def test_selection_settings_that_only_the_pool_or_a_plug_in_can_judge(small_job, overrides, said):
    with pytest.raises(ConfigError, match=f"^selection: .*{said}"):
        load_inputs(small_job(*overrides))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["learner.weight_sync=nowhere:Sync"], "weight_sync: weight_sync 'nowhere:Sync' cannot be loaded"),
        (["learner.weight_sync=actors.weights.broker:WeightBroker"], "weight_sync: .*not a subclass"),
        (["learner.weight_sync_options={q: 1}"], "weight_sync: .*unexpected keyword argument 'q'"),
        (["learner.loss=nowhere:loss"], "loss: loss 'nowhere:loss' cannot be loaded"),
    ],
)
def test_plug_ins_of_the_learner_that_cannot_be_made(small_job, overrides, said):
    with pytest.raises(ConfigError, match=f"^learner.{said}"):
        load_inputs(small_job(*overrides))


def test_a_simulation_of_such_settings_leaves_the_earlier_one_as_it_is(tmp_path, capsys):
    job = ["simulate", "configs/sim_lab.yaml", "world.tasks=300", f"run.folder={tmp_path}", "--overwrite"]
    mark = tmp_path / "sim_lab" / "simulation.yaml"
    mark.parent.mkdir()
    mark.write_text("earlier")
    for setting, said in (
        ("arms.mine={selector: greddy}", "selection of arm 'mine': unknown selector 'greddy'; known are"),
        ("selection.domain_shares={maths: 1}", "selection of arm 'random': domain_shares names ['maths']"),
    ):
        assert main([*job, setting]) == 2
        assert said in capsys.readouterr().err
        assert mark.read_text() == "earlier"
        assert main([*job, setting, "--dry-run"]) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": ["a", "a"]}, "'a'"),
        ({"answer": ["2", ""]}, "answer"),
        ({"answer": None}, "answer"),
        ({"prompt": ["1+1=", None]}, "prompt"),
        ({"grader": ["exact", "magic"]}, "magic"),
        ({"prompt": ["1+1=", "2 plus §="]}, "has no token"),
        ({"prompt": ["1+1=", "1+" * 60 + "1="]}, "at most 64 leave"),
        ({name: pa.array([], pa.string()) for name in ("id", "prompt", "answer", "domain", "grader")}, "no"),
    ],
)
def test_a_pool_that_cannot_be_trained_on(small_job, tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        load_inputs(small_job(parquet(tmp_path, **changes), "selection.tasks=2"))


def test_limits_that_no_program_and_no_prompt_fit_into_are_named(small_job, tmp_path):
    tests = '{"inputs": ["1"], "outputs": ["1"]}'
    programs = parquet(tmp_path, grader=["code", "code"], answer=[tests, tests])
    with pytest.raises(ConfigError, match=r"grading\.timeout_s: .* 10 s; code takes up to 20 s of tests"):
        load_inputs(small_job(programs, "selection.tasks=2", "grading.timeout_s=10"))
    with pytest.raises(ValueError, match=r"no row is left of .*; the pool's max_prompt_tokens is 1"):
        load_inputs(small_job(parquet(tmp_path), "selection.tasks=2", "pool.max_prompt_tokens=1"))


def test_a_tokenizer_of_another_model(small_job, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(checkpoint_path("base"), model)
    config = (model / "config.json").read_text()
    (model / "config.json").write_text(config.replace('"vocab_size": 36', '"vocab_size": 20'))
    with pytest.raises(ConfigError, match="they don't belong together"):
        load_inputs(small_job(f"model.path={model}"))


def test_weights_of_another_vocabulary_than_the_engines_are_built_for(small_job, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(checkpoint_path("base"), model)
    config = (model / "config.json").read_text()
    (model / "config.json").write_text(config.replace('"vocab_size": 36', '"vocab_size": 64'))
    with pytest.raises(ConfigError, match=r"vocab_size = 64.*hold 36 embeddings"):
        load_inputs(small_job(f"model.path={model}"))


def without_weights(model):
    (model / "model.safetensors").unlink()


def half_of_the_weights(model):
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def one_of_two_files(model):
    names = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    (model / "model.safetensors").rename(model / names["a"])
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def quantized(model):
    config = json.loads((model / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4}
    (model / "config.json").write_text(json.dumps(config))


def another_kind(model):
    config = T5Config(vocab_size=36, d_model=16, d_kv=8, num_layers=1, num_heads=2, d_ff=16)
    config.save_pretrained(model)


def without_attention(model):
    MambaConfig(vocab_size=36, hidden_size=16, num_hidden_layers=1).save_pretrained(model)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (without_attention, "is a 'mamba' model, whose layers have no attention"),
        (without_weights, "it holds no weights"),
        (half_of_the_weights, "model.safetensors is damaged, or not whole"),
        (one_of_two_files, "names 2 files of weights, of which model-2-of-2.safetensors are not there"),
        (quantized, r"its weights are quantized \(awq\)"),
        (another_kind, "is a 't5' model, for which transformers has no causal language model"),
    ],
)
def test_a_folder_that_holds_no_model_to_train(small_job, tmp_path, changed, said):
    model = tmp_path / "model"
    shutil.copytree(checkpoint_path("base"), model)
    changed(model)
    with pytest.raises(ConfigError, match=said):
        load_inputs(small_job(f"model.path={model}"))


def test_adapters_on_layers_that_are_not_there(small_job):
    load_inputs(small_job("learner.lora.targets=[q_proj, v_proj]"))
    with pytest.raises(ConfigError, match=r"no linear layers called w_q; it has .*q_proj"):
        load_inputs(small_job("learner.lora.targets=[q_proj, w_q]"))


def test_too_few_resources_are_refused_with_the_arithmetic(small_job):
    demands = resources.plan(
        small_job("rollout.engines=3", "rollout.cpus=1", "learner.ranks=2", "learner.gpus=1")
    )
    with pytest.raises(resources.ResourceError) as caught:
        resources.check(demands, {"CPU": 2.0})
    said = str(caught.value)
    assert "asks for 4 CPU = 3 x 1 (rollout engine) + 2 x 0.5 (learner rank); the cluster has 2" in said
    assert "Lower rollout.engines, rollout.cpus" in said
    resources.check(resources.plan(small_job("rollout.engines=2", "learner.ranks=2")), {"CPU": 2.0})


def test_the_command_line_says_why_and_starts_nothing(capsys):
    before = ray.is_initialized()
    assert main(["train", "configs/lab.yaml", "selection.lambda=1"]) == 2
    assert "selection.lambda: no such key" in capsys.readouterr().err
    assert ray.is_initialized() == before


FEW = ["pool.sources.0.seed=8"]  # the lab's anchors are for the tasks drawn with seed 7


@pytest.mark.parametrize(
    ("overrides", "who"),
    [
        (["selection.evidence=interpolation"], "evidence interpolation"),
        (["selection.evidence=item_response"], "evidence item_response"),
        (["selection.selector=offline"], "selector offline"),
        (["selection.prior=anchors", "selection.rho=0"], "prior anchors"),
    ],
)
def test_who_reckons_with_reference_pass_rates_that_are_not_there_is_warned(small_job, overrides, who):
    [warning] = load_inputs(small_job(*FEW, *overrides)).warnings
    assert "of the pool's 200 tasks have no reference pass rates" in warning
    assert f"{who} cannot use those tasks; `bots anchors` measures them" in warning


def test_where_nothing_is_learned_of_tasks_that_the_prior_does_not_know_they_are_named(small_job, tmp_path):
    """In a pool without levels an unmeasured task's own rollouts alone decide."""
    rates = {"weak": [0.2, None], "strong": [0.6, None]}
    columns = "kind: parquet, columns: {weak: weak, strong: strong}"
    source = parquet(tmp_path, **rates).replace("kind: parquet", columns)
    [warning] = load_inputs(small_job(source, "selection.tasks=1")).warnings
    assert (
        "1 of the pool's 2 tasks have no reference pass rates, and prior anchors cannot use those tasks"
        in warning
    )


@pytest.mark.parametrize("selector", ["bots", "dots"])
def test_who_has_no_reference_pass_rates_is_told_what_there_is_instead(small_job, tmp_path, selector):
    chosen = f"selection.selector={selector}"
    [warning] = load_inputs(small_job(*FEW, chosen)).warnings
    assert (
        "have no reference pass rates; evidence about them is learned during the run from domains and levels"
        in warning
    )
    assert "`bots anchors` measures the pass rates" in warning
    [warning] = load_inputs(small_job(parquet(tmp_path), "selection.tasks=1", chosen)).warnings
    assert "2 of the pool's 2 tasks have no reference pass rates; the pool has no levels either" in warning
    assert ("selection.lam=0 is better than a self-tuned λ" in warning) == (selector == "bots"), (
        "dots is defined by its λ"
    )
    [warning] = load_inputs(small_job(parquet(tmp_path), "selection.tasks=1", "selection.rho=0.1")).warnings
    assert "selection.lam=0 is better than 0.1" in warning


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [*FEW, "selection.evidence=online"],
        [*FEW, "selection.selector=random"],
        [*FEW, "selection.rho=0"],
        [*FEW, "selection.selector=mopps"],
    ],
)
def test_nobody_else_is_warned(small_job, overrides):
    assert load_inputs(small_job(*overrides)).warnings == ()


def test_a_dry_run_prints_the_configuration_and_the_plan(capsys, tmp_path):
    assert (
        main(["train", "configs/lab.yaml", "pool.sources.0.size=64", f"run.folder={tmp_path}", "--dry-run"])
        == 0
    )
    out = capsys.readouterr().out
    assert "lam: 0.1" in out
    assert "# 2 x rollout engine: 0.5 CPU" in out
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["rollout.engines=11"],
            "a wave has only 8 groups, and a group is one engine's: 3 engines are always idle",
        ),
        (
            ["rollout.engines=20", "rollout.max_staleness=1"],
            r"8 groups x (rollout.max_staleness + 1) = 16, and a group is one engine's: 4 engines are always idle",
        ),
        (["rollout.max_num_seqs=3"], "rollout.max_num_seqs is 3, less than a group's 4 completions"),
    ],
)
def test_engines_that_would_be_idle_or_too_small_are_named_in_the_plan(small_job, overrides, said):
    inputs = load_inputs(small_job(*overrides))
    assert any(said in line for line in inputs.summary_lines())
    assert load_inputs(small_job("rollout.engines=8", "rollout.max_num_seqs=4")).warnings == ()
