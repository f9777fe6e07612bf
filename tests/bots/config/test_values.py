"""Values that look right and are not: refused with their key, or taken as they are meant."""

from pathlib import Path

import pytest

from bots import BOTS, TaskPool
from bots.config.no_effect import without_effect
from bots.config.train import load_config
from bots.config.tree import ConfigError

LAB = Path(__file__).parents[3] / "configs" / "lab.yaml"


@pytest.mark.parametrize(
    "override",
    [
        "learner.lr=true", "run.steps=true", "selection.lam=false", "selection.cooldown=false",
        "selection.prior=[true, 1]", "selection.domain_shares={math: true}", "learner.betas=[0.9, false]",
        "pool.sources.0.size=true", "rollout.resources={a: true}", "selection.dynamic={rounds: true}",
        "learner.zero_stage=true", "learner.zero_stage=false", "selection.prior={strength: true}",
    ],
)  # fmt: skip
def test_true_and_false_are_no_numbers(override):
    with pytest.raises(ConfigError, match="must be a number, not true or false"):
        load_config(LAB, [override])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("learner.betas=[0.9]", r"learner\.betas\.1: is missing; learner\.betas has more values"),
        (
            "selection.dynamic=true",
            r"selection\.dynamic: must be a section; `\{\}` has its defaults \(it is True\)",
        ),
        ("learner.lora=true", r"learner\.lora: must be a section"),
        ("run.trackers=wandb", r"run\.trackers: must be a list, such as \[wandb\]"),
        ("selection.prior=foo", r"selection\.prior: input should be 'auto' or 'anchors' \(it is 'foo'\)$"),
        (
            "selection.prior={strenght: 8}",
            r"prior\.strenght: no such key; did you mean selection\.prior\.strength\?",
        ),
        ("selection.prior={foo: 8}", r"selection\.prior\.foo: no such key; there are strength, capability$"),
        (
            "selection.prior={strength: -1}",
            r"strength of the anchor prior is -1\.0; it must be a finite number ≥ 0$",
        ),
        ("selection.prior=8", r"selection\.prior: input should be auto, anchors, \[α0, β0\] or a section"),
        ("selection.prior=null", r"selection\.prior: input should be auto, anchors,"),
        ("selection.prior=[0,1]", r"selection\.prior\.0: input should be greater than 0 \(it is 0\)$"),
        ("grading.memory_gib=0.001", r"grading\.memory_gib: .*greater than or equal to 0\.0625"),
    ],
)
def test_a_value_of_another_kind_is_answered_with_one_that_fits(override, said):
    with pytest.raises(ConfigError, match=said):
        load_config(LAB, [override])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("''", "is empty"), ("'  '", "is empty"), ("..", "is a path"), (".", "is a path"), ("/abs", "is a path"),
        ("a/b", "is a path"), ("'a\\b'", "is a path"), ("' a'", "has blanks"), ('"a\\nb"', "has blanks"),
        ('"a\\0b"', "has blanks"), (".hidden", "begins with"), ("-x", "begins with"), ("'~'", "begins with"),
        ("a" * 300, "has more than 200 bytes"), ("20241123", "must be text; put it in quotes"),
        ("2024-11-23", "must be text; put it in quotes"),
    ],
)  # fmt: skip
def test_a_run_s_name_is_one_folder_s(name, said):
    with pytest.raises(ConfigError, match=f"run.name: {said}"):
        load_config(LAB, [f"run.name={name}"])


@pytest.mark.parametrize("name", ["lab", "lab-2", "läb.v2", "a b", "nan", "1e-1x"])
def test_other_names_are_taken(name):
    assert load_config(LAB, [f"run.name={name}"]).run.name == name


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    config = load_config(
        LAB, ["run.folder=~/runs", "model.path=~/model", "pool.sources.0.anchors=~/a.parquet"]
    )
    assert str(config.run.folder) == "/home/someone/runs"
    assert config.model.path == "/home/someone/model"
    assert config.pool.sources[0].anchors == "/home/someone/a.parquet"
    with pytest.raises(ConfigError, match=r"run\.folder: begins with ~, but there is no such home folder"):
        load_config(LAB, ["run.folder=~no.such.person/runs"])


@pytest.mark.parametrize(
    "key",
    [
        "selection.adaptor", "selection.retire_above", "selection.domain_shares", "selection.cooldown",
        "selection.dynamic", "learner.lora", "rollout.min_engines", "evaluation.pool", "pool.max_prompt_tokens",
        "pool.sources.0.anchors",
    ],
)  # fmt: skip
def test_none_means_none_wherever_it_is_allowed(key):
    def of(text):
        value = load_config(LAB, [f"{key}={text}"])
        for part in key.split("."):
            value = value[int(part)] if part.isdecimal() else getattr(value, part)
        return value

    assert of("none") == of("null")


def test_none_is_a_name_where_the_key_says_so():
    assert load_config(LAB, ["selection.evidence=none"]).selection.evidence == "none"
    assert BOTS(TaskPool.from_arrow(_table()), adaptor="none").settings["adaptor"] is None


def _table():
    import pyarrow as pa

    return pa.table({"id": ["a", "b"]})


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["selection.selector=random", "selection.lam=0.2"],
            "selection.lam is set, but has no effect: selector",
        ),
        (["selection.selector=random", "selection.evidence=online"], "selection.evidence is set"),
        (
            ["selection.recheck=4"],
            "selection.recheck is set, but has no effect: it counts with selection.retire_above",
        ),
        (["selection.evidence=none", "selection.rho=0.2"], "selection.rho is set, but has no effect"),
        (["selection.rho=0", "selection.evidence=auto"], "selection.evidence is set, but has no effect"),
        (
            ["selection.selector=variance", "selection.p_star=0.4"],
            "selection.p_star is set, but has no effect",
        ),
        (
            ["selection.selector=insight", "selection.p_star=0.4"],
            "selection.p_star is set, but has no effect",
        ),
        (["selection.selector=greso", "selection.lam=0.4"], "selection.lam is set, but has no effect"),
        (
            ["learner.loss=rloo", "learner.clip_high=0.3"],
            "learner.clip_high is set, but has no effect: loss rloo",
        ),
        (
            ["rollout.keep_kv_cache=true"],
            "rollout.keep_kv_cache is set, but has no effect: with rollout.max_st",
        ),
        (["rollout.gpu_memory_utilization=0.5"], "rollout.gpu_memory_utilization is set, but has no effect"),
        (["pool.sources.0.weight=2"], "pool.sources.0.weight is set, but has no effect"),
        (
            ["run.checkpoint_every=0", "run.checkpoints_kept=3"],
            "run.checkpoints_kept is set, but has no effect",
        ),
        (
            ["learner.group_weights=completion"],
            "learner.group_weights is set, but has no effect: with selection.al",
        ),
        (
            ["selection.selector=random", "selection.allocation=until_signal", "selection.lam=0.2"],
            "selection.lam is set, but has no effect",
        ),
        (
            ["selection.selector=random", "selection.allocation=knapsack", "selection.p_star=0.4"],
            "selection.p_star is set, but has no effect",
        ),
        (
            ["learner.clip_high=0.28"],
            "learner.clip_high is set, but has no effect: with learner.updates_per_batch 1",
        ),
        (["run.nodes_join_by_hand=true"], "run.nodes_join_by_hand is set, but has no effect"),
        (["run.gpu_memory_gib=80"], "run.gpu_memory_gib is set, but has no effect"),
        (
            ["evaluation.pool.sources.0.weight=2"],
            "evaluation.pool.sources.0.weight is set, but has no effect",
        ),
        (["pool.sources.0.set=hard"], "pool.sources.0.set is set, but has no effect"),
        (["evaluation.pool=none"], "evaluation.every is set, but has no effect: there is no evaluation.pool"),
    ],
)
def test_a_setting_without_effect_is_told(overrides, said):
    assert any(line.startswith(said) for line in without_effect(load_config(LAB, overrides)))


@pytest.mark.parametrize(
    "path",
    [
        "lab",
        "guru_math_1.5b",
        "guru_math_7b",
        "guru_logic_7b",
        "guru_code_7b",
        "guru_math_7b_one_node",
        "smollm2",
    ],
)
def test_shipped_configurations_set_nothing_in_vain(path):
    assert without_effect(load_config(LAB.with_name(f"{path}.yaml"))) == []


def test_beliefs_count_where_the_allocation_looks_at_them():
    used = ["selection.selector=random", "selection.allocation=knapsack", "selection.lam=0.2"]
    assert without_effect(load_config(LAB, [*used, "learner.group_weights=completion"])) == []


def test_settings_that_count_are_not_told():
    used = [
        "selection.selector=random",
        "selection.retire_above=0.9",
        "selection.recheck=4",
        "selection.lam=0.2",
    ]
    assert without_effect(load_config(LAB, used)) == []
    assert without_effect(load_config(LAB, ["selection.selector=adarft", "selection.p_star=0.4"])) == []


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("selection.lamda=0.2", r"selection\.lamda: no such key; did you mean selection\.lam\?$"),
        ("selection.lr=1", r"selection\.lr: no such key; did you mean learner\.lr\?$"),
        ("Selection.lam=0.2", r"Selection: no such key; did you mean selection\?$"),
        ("run.STEPS=5", r"run\.STEPS: no such key; did you mean run\.steps\?$"),
        (
            "pool.sources.0.szie=5",
            r"pool\.sources\.0\.szie: no such key; did you mean pool\.sources\.0\.size\?$",
        ),
        ("pool.sources.0.path=x", r"pool\.sources\.0\.path: no such key for this kind$"),
        ("grading.qqq=1", r"grading\.qqq: no such key; there are actors, workers, .*judge"),
    ],
)
def test_an_unknown_key_is_told_with_the_one_that_was_meant(override, said):
    with pytest.raises(ConfigError, match=said):
        load_config(LAB, [override])


@pytest.mark.parametrize(
    ("override", "lines"),
    [
        (
            "pool.sources.0.size=0",
            ["pool.sources.0.size: input should be greater than or equal to 1 (it is 0)"],
        ),
        (
            "pool.sources=[{}]",
            ["pool.sources.0: has neither a kind nor a path as text that says it (it is {})"],
        ),
        ("rollout.min_engines=3", ["rollout: rollout.min_engines is 3, more than rollout.engines = 2"]),
        (
            "selection.selector=[bots]",
            ["selection.selector: input should be a valid string (it is ['bots'])"],
        ),
        (
            "selection.selector={a: 1}",
            ["selection.selector: input should be a valid string (it is {'a': 1})"],
        ),
    ],
)
def test_a_fault_is_one_line_with_the_key_as_it_is_written(override, lines):
    with pytest.raises(ConfigError) as refused:
        load_config(LAB, [override])
    assert [line.strip() for line in str(refused.value).splitlines()[1:]] == lines


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("run.folder=''", "run.folder: is empty"),
        ('run.folder="a\\0b"', "run.folder: has a NUL character"),
        ("model.path=' '", "model.path: is empty"),
        ("pool.sources.0.anchors=''", "pool.sources.0.anchors: is empty"),
        ("pool.sources=[{path: ''}]", "path is empty"),
        ("rollout.resources={CPU: 2}", "names 'CPU'; CPUs and GPUs are the keys cpus and gpus"),
        ("learner.resources={GPU: 2}", "names 'GPU'"),
        ("rollout.temperature=1e-6", "greater than or equal to 0.01"),
        ("evaluation.samples={}", "evaluation.samples is for the sets"),
        ("grading.judge={url: x, model: y}", "grading.judge: the judge's URL must be http://HOST"),
        ("grading.judge={url: ftp://x, model: y}", "grading.judge: the judge's URL must be http://HOST"),
        ("grading.judge={url: 'http://', model: y}", "grading.judge: the judge's URL must be http://HOST"),
        ("grading.judge={url: 'http://x:99999/v1', model: y}", "grading.judge: port out of range"),
        ("grading.judge={url: http://x/v1, model: ''}", "grading.judge: model is empty"),
    ],
)
def test_values_that_fail_later_are_refused_with_their_key(override, said):
    with pytest.raises(ConfigError, match=said):
        load_config(LAB, [override])
