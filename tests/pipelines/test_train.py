"""The main job end to end: real Ray Train, vLLM, DeepSpeed, graders and posterior."""

import json
import shutil

import numpy as np
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM

from actors.weights.format import Checksum
from bots.config.train import TrainConfig
from bots.config.tree import parse_config
from bots.lab.checkpoints import checkpoint_path
from pipelines.report.sections import build
from pipelines.report.settings import group, read_runs
from pipelines.shared.job_folder import read_pool
from pipelines.shared.preflight import load_inputs
from pipelines.shared.summary import read_metrics
from pipelines.train import train

pytestmark = pytest.mark.slow


def test_a_run_leaves_everything_that_it_promises(finished_run):
    config, summary = finished_run
    folder = config.run.path
    records = read_metrics(folder)

    assert [record["step"] for record in records] == [0, 1, 2, 3]
    assert [record["step"] for record in records if "score" in record] == [0, 2, 3]
    steps = records[1:]
    assert [record["policy_version"] for record in steps] == [1, 2, 3]
    assert all(record["staleness"] == 0 for record in steps), "strictly on-policy"
    assert len({record["weights"] for record in steps}) == 3, "each step's weights differ"
    assert all(abs(record["mismatch_kl"]) < 1e-4 for record in steps), "engine and learner hold one policy"
    for record in steps:
        phases = sum(value for name, value in record.items() if name.startswith("seconds/"))
        # Between the phases are a few actor calls, which may take long on a busy machine.
        assert 0.5 * record["seconds"] < phases <= record["seconds"], "the phases make up the step"

    for record in steps[1:]:
        rollouts = pq.read_table(folder / "rollouts" / f"{record['step']:06d}.parquet")
        assert rollouts.num_rows == config.selection.tasks * config.rollout.samples
        # Sampled by the previous step's policy, whose weights the engines held at the time.
        assert set(rollouts["policy_version"].to_pylist()) == {record["step"] - 1}
        assert set(rollouts["weights"].to_pylist()) == {records[record["step"] - 1]["weights"]}
        assert np.mean(rollouts["reward"].to_numpy()) == pytest.approx(record["reward"])

    for record in (record for record in records if "score" in record):
        answers = pq.read_table(folder / "evaluation" / f"{record['step']:06d}.parquet")
        assert answers.num_rows == 40 * config.evaluation.samples
        assert set(answers["policy_version"].to_pylist()) == {record["step"]}
        assert np.mean(answers["reward"].to_numpy()) == pytest.approx(record["score"])

    assert summary == json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == 3
    assert summary["tokens"] == sum(record["tokens"] for record in steps)
    recorded = parse_config(TrainConfig, yaml.safe_load((folder / "config.yaml").read_text()), "")
    assert recorded == config.on(read_pool(folder)), "with the belief by its name"
    assert sorted(p.name for p in (folder / "checkpoints").glob("step_*")) == ["step_000002", "step_000003"]
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    shown = {event.step: event.value for event in board.Scalars("score")}
    assert shown == pytest.approx(
        {record["step"]: record["score"] for record in records if "score" in record}
    )
    assert "seconds/generate" in board.Tags()["scalars"]

    with ipc.open_file(str(folder / "posterior" / "beliefs.arrow")) as file:
        beliefs = file.read_all()
    evidence = beliefs["alpha"].to_numpy() + beliefs["beta"].to_numpy() - 2
    # The evidence mass of a task observed at s of three steps is bounded by n / λ (arXiv 2510.26374).
    assert evidence.max() <= config.rollout.samples / config.selection.lam
    assert (evidence > 0).any()

    policy = AutoModelForCausalLM.from_pretrained(folder / "model")
    checksum = Checksum()
    checksum.add(policy.named_parameters())
    assert checksum.hexdigest() == steps[-1]["weights"], "what is handed out is what the last step made"
    tokenizers = [
        (path / "tokenizer.json").read_bytes() for path in (folder / "model", checkpoint_path("base"))
    ]
    assert tokenizers[0] == tokenizers[1]

    assert all(sum(record["beliefs/selected"]) == config.selection.tasks for record in steps)
    assert [sum(record["beliefs/pool"]) for record in records if "score" in record] == [200] * 3
    (shown,) = build(group(read_runs([folder])))["runs"]
    assert shown["state"] == "finished"
    assert shown["quality"] is not None, "the kept rewards lead to the beliefs that the run wrote"
    assert sum(shown["phases"]["totals"].values()) == pytest.approx(shown["phases"]["wall"])


def test_a_run_resumed_from_an_earlier_checkpoint_is_the_run_that_never_stopped(finished_run, tmp_path):
    """As after a kill, journal and ledger are ahead of the checkpoint. test_study repeats a run from its start."""
    whole, _ = finished_run
    shutil.copytree(whole.run.path, tmp_path / whole.run.name)
    resumed = whole.model_copy(update={"run": whole.run.model_copy(update={"folder": tmp_path})})
    train(resumed, resume_from=2)
    kept = sorted(path.name for path in (resumed.run.path / "checkpoints").glob("*step_*"))
    assert kept == ["aside_step_000003", "step_000002", "step_000003"], "it did go back"
    expected, found = read_metrics(whole.run.path), read_metrics(resumed.run.path)
    assert [record["step"] for record in found] == [0, 1, 2, 3]
    assert found[:3] == expected[:3], "what the checkpoint holds was not done again"
    assert found[3]["seconds"] != expected[3]["seconds"], "the last step was"
    for key in ("score", "etr", "reward", "tokens", "weights"):
        assert expected[3][key] == found[3][key], key


def test_the_lab_is_encoded_with_its_own_tokenizer(small_job):
    inputs = load_inputs(small_job())
    assert len(inputs.train.prompts) == 200
    assert all(prompt[0] == 1 and prompt.dtype == np.int32 for prompt in inputs.train.prompts), "bos first"
