"""`ray job submit` on a started head: from another folder, with settings, from an archive; logs, stop and resume.

The run has sharded adapters and broadcast weights, and goes on with a different number of ranks and engines.
"""

import json
import re
import secrets
import time
import zipfile
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bots.rollouts.ledger import audit
from pipelines.shared.summary import read_metrics
from tests.heads import processes_with, started_head
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.ray]
ROOT = Path(__file__).parents[2]
JOB = "to-be-stopped"


def train(folder, *rest):
    """The entrypoint of a small run that writes its results to `folder`."""
    return [
        "--", "python", "-m", "pipelines.train", "configs/lab.yaml", "pool.sources.0.size=200",
        "selection.tasks=8", "rollout.samples=4", "learner.lr=1e-3", "learner.zero_stage=3", "learner.lora.rank=8",
        "learner.weight_sync=broadcast", "evaluation.pool.sources.0.size=40", "evaluation.every=100000",
        f"run.folder={folder}", *rest,
    ]  # fmt: skip


TWO = "learner.ranks=2", "rollout.engines=2"
ONE = "learner.ranks=1", "rollout.engines=1"


def steps(folder):
    path = folder / "lab" / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


@pytest.fixture(scope="module")
def head():
    """With tokens, as on a cluster: everything below presents one, from the client to the engines."""
    with started_head(token=secrets.token_hex(16)) as head:
        yield head


@pytest.fixture(scope="module")
def submit(head):
    """A function that submits to this file's only head; returns the output."""

    def submit(*arguments, cwd):
        done = []

        def taken():
            """The dashboard responds before the node's agent, which starts jobs, has joined it."""
            done.append(head.ray("job", "submit", *arguments, cwd=cwd))
            return "No available agent" not in done[-1].stderr

        wait_for(taken, "the agent that starts jobs")
        said = done[-1].stdout + done[-1].stderr
        assert done[-1].returncode == 0, said
        return said

    return submit


@pytest.fixture(scope="module")
def stopped(head, submit, tmp_path_factory):
    """The folder of a run that was submitted from elsewhere, with settings, and stopped after its third step."""
    folder = tmp_path_factory.mktemp("submitted")
    marker = f"BOTS_TEST_JOB_{head.gcs.rpartition(':')[2]}"
    settings = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60", marker: "1"}}
    began = time.monotonic()
    submit(
        "--no-wait", "--submission-id", JOB, "--working-dir", str(ROOT), "--runtime-env-json", json.dumps(settings),
        *train(folder, *TWO, "run.steps=100000", "run.checkpoint_every=100000"), cwd=folder,
    )  # fmt: skip
    assert not steps(folder), (
        f"--no-wait came back after {time.monotonic() - began:.0f} s, with the run begun"
    )

    wait_for(lambda: processes_with(marker), "the job's processes")

    def in_the_fourth_step():
        assert processes_with(marker), head.ray("job", "logs", JOB).stdout
        return len(steps(folder)) > 3

    wait_for(in_the_fourth_step, "the third step")
    names = {one.name() for one in processes_with(marker)}
    assert any("RolloutActor" in name for name in names), f"settings reach engines: {names}"
    assert "score" in head.ray("job", "logs", JOB).stdout
    said = head.ray("job", "stop", JOB)
    assert said.returncode == 0, said.stderr
    assert f"'{JOB}' was stopped" in head.ray("job", "status", JOB).stdout

    def left():
        """Idle workers exit after a while; one Ray Train actor stays, since it serves all jobs of the cluster."""
        names = {one.name() for one in processes_with(marker)}
        return {name for name in names if "IDLE" not in name and "_AutoscalingCoordinator" not in name}

    wait_for(lambda: not left(), "the end of what the job started", 30)
    return folder


def test_stop_ends_the_run_with_a_checkpoint_of_its_last_step(head, stopped):
    done = steps(stopped)
    assert done == list(range(len(done)))
    [checkpoint] = (stopped / "lab" / "checkpoints").glob("step_*")
    assert checkpoint.name == f"step_{done[-1]:06d}"
    assert json.loads((stopped / "lab" / "summary.json").read_text())["steps"] == done[-1]
    said = head.ray("job", "logs", JOB).stdout
    assert f"checkpoint of step {done[-1]}" in said, said
    assert "Traceback" not in said


@pytest.mark.parametrize("client", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "another"}], ids=str)
def test_without_the_cluster_s_token_nothing_is_run_or_shown(head, client):
    said = head.ray("job", "list", **client)
    assert said.returncode != 0
    assert JOB not in said.stdout
    assert "token" in (said.stdout + said.stderr).lower()


def test_a_stopped_run_goes_on_from_a_remote_working_directory_with_fewer_ranks_and_engines(
    submit, stopped, tmp_path
):
    """An archive that the cluster can read: here by file://, on a cloud by s3:// or gs://."""
    archive = tmp_path / "bots.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for folder in ("bots", "actors", "pipelines", "configs"):
            for file in (ROOT / folder).rglob("*"):
                if file.is_file() and "__pycache__" not in file.parts:
                    packed.write(file, Path("bots-main") / file.relative_to(ROOT))
    last = steps(stopped)[-1]
    said = submit(
        "--working-dir", archive.as_uri(), *train(stopped, *ONE, f"run.steps={last + 2}", "--resume"), cwd=tmp_path
    )  # fmt: skip
    assert re.search(r"Job '.*' succeeded", said), said
    assert steps(stopped) == list(range(last + 3))
    account = audit(stopped / "lab" / "ledger.jsonl")
    assert len(account.trained) == 8 * (last + 2), "every step trained its tasks, each once"
    assert not account.dropped

    made = read_metrics(stopped / "lab")[1:]
    assert all(abs(record["mismatch_kl"]) < 1e-4 for record in made), "engines and learner hold one policy"
    taught = [(one["weights"], other["weights"]) for one, other in pairwise(made) if other["etr"] > 0]
    assert taught, "some steps had tasks to learn from"
    assert all(before != after for before, after in taught), "and each of them moved the weights"
    assert not any(record["engine_losses"] for record in made), "no broadcast broke off"
    # The first completions after the resume use the weights of the checkpoint: they were sent first.
    rollouts = pq.read_table(stopped / "lab" / "rollouts" / f"{last + 1:06d}.parquet")
    assert set(rollouts["policy_version"].to_pylist()) == {last}
    assert set(rollouts["weights"].to_pylist()) == {made[last - 1]["weights"]}
