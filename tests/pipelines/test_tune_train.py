"""Sweeps of real training jobs: early stopping, a kill, and population-based training that passes on the posterior."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
import ray
import yaml
from rich.console import Console

from bots import BOTS, TaskPool
from bots.config.train import load_config
from bots.config.tree import ConfigError, dump_config
from pipelines.report.run import read_run
from pipelines.shared.summary import read_metrics
from pipelines.sweeps import trials
from pipelines.sweeps.config import load_sweep
from pipelines.sweeps.exploit import adopt, run_of_checkpoint
from pipelines.sweeps.folders import can_resume, has_ended
from pipelines.sweeps.resources import trial_demand
from pipelines.sweeps.trials import segment_end
from pipelines.train import train
from pipelines.training.checkpoint import POSTERIOR
from pipelines.tune import close_runs, run_sweep
from tests.heads import started_head
from tests.pipelines import quick_sweep
from tests.pipelines.checkpoints import make_checkpoint
from tests.waiting import wait_for

pytestmark = pytest.mark.ray

SMALL = [
    "base.run.steps=3",
    "base.pool.sources.0.size=200",
    "base.selection.tasks=8",
    "base.rollout.samples=4",
    "base.rollout.engines=1",
    "base.learner.ranks=1",
    "base.evaluation.pool.sources.0.size=40",
    "base.evaluation.every=1",
]


def run(sweep, **flags):
    return run_sweep(sweep, Console(file=io.StringIO()), **flags)


def settled(folder):
    """Checkpoint folders in Ray Train's record, oldest first."""
    kept = folder / "checkpoints" / "checkpoint_manager_snapshot.json"
    text = kept.read_text() if kept.exists() else ""
    return [path for path in sorted(folder.glob("checkpoints/step_*")) if path.name in text]


def kill_when(condition, config, given, job=("pipelines.cli", "tune")):
    """Start a sweep on the test's cluster and kill it, but not the cluster, as soon as the condition holds.

    Returns what the cluster had reserved and what was free a moment before.
    """
    environment = {
        **os.environ,
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        "TUNE_GLOBAL_CHECKPOINT_S": "0.2",
    }
    command = [sys.executable, "-m", *job, config, *given]
    process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)

    def come_so_far():
        assert process.poll() is None, "it is to be killed in the middle"
        return condition()

    try:
        wait_for(come_so_far, "the moment to kill it", every=0.05)
        return ray.cluster_resources(), ray.available_resources()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def second_ray():
    """Another Ray on this machine, as if another user's. A lookup of "the" cluster then finds two and refuses."""
    with started_head():
        yield


@pytest.mark.slow
def test_asha_over_train_jobs_that_is_killed_goes_on_from_their_checkpoints(cluster, second_ray, tmp_path):
    given = [*SMALL, f"sweep.folder={tmp_path}", "scheduler.grace=4", "scheduler.reduction=2"]
    given += [
        "base.run.steps=6",
        "base.run.checkpoint_every=1",
        "space.selection.lam=null",
        "space.selection.rho=null",
    ]
    # The other learning rate ruins the policy, so its trial is stopped: certainly, and not before step 4.
    given += ["space.learner.lr=[1.0e-4, 0.2]", "base.learner.warmup_steps=1"]
    # One trial takes seven of the cluster's eight CPUs; the next one waits until all of them are free.
    given += ["base.rollout.cpus=5", "base.learner.cpus=2"]
    sweep = load_sweep("tune_configs/lab_asha.yaml", given)
    assert trial_demand(sweep).concurrent({"CPU": 8}, None) == 1

    folders = tmp_path / "lab_asha" / "trials"
    reserved, free = kill_when(
        lambda: any(settled(trial) for trial in folders.glob("*_00000")), "tune_configs/lab_asha.yaml", given
    )
    [engine] = [kind for kind in reserved if kind.startswith("CPU_group_1_")]
    assert reserved[engine] == 5, "the engine has a bundle of its own in the trial's placement group"
    assert free.get(engine, 0) == 0, "and is in it"
    [first] = folders.glob("[!.]*_00000")
    kept = int(settled(first)[0].name.removeprefix("step_"))
    done = [record for record in read_metrics(first) if record["step"] <= kept]

    # The cluster stays up and ends the old sweep's processes while the new one starts. (That a trial which had ended
    # is not run again: test_tune and below.)
    results = run(sweep, resume=True)
    assert read_metrics(first)[: len(done)] == done, "what a checkpoint holds was not done again"
    [second] = {t.name for t in results.trials} - {first.name}
    assert {t.name: t.status for t in results.trials} == {first.name: "finished", second: "stopped"}, (
        "the second had to wait for what the first held, and got it"
    )
    for t in results.trials:
        folder = folders / t.name
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["learner"]["lr"] == t.point["learner.lr"]
        records = read_metrics(folder)
        assert [record["step"] for record in records] == list(range(len(records)))
        scores = [record["score"] for record in records]
        assert t.curve["score"] == scores[: len(t.curve["score"])]
        summary = json.loads((folder / "summary.json").read_text())
        assert (summary["status"], summary["steps"]) == (t.status, len(records) - 1)
        state = {"finished": "finished", "stopped": "ended early"}
        assert read_run(folder).state == state[t.status] or len(records) == 7
        if t.status == "finished":
            assert len(scores) == 7
            assert t.metrics["mean_score"] == pytest.approx(np.mean(scores))
    best = load_config(tmp_path / "lab_asha" / "best.yaml")
    assert best.learner.lr == results.ranked()[0].point["learner.lr"] == 1e-4
    assert best.run.name == "lab_asha_best"
    table = pq.read_table(tmp_path / "lab_asha" / "trials.parquet")
    assert set(table.column_names) >= {"trial", "learner.lr", "score", "status", "tokens", "error"}
    assert table.num_rows == 2


def beliefs(run_folder, step):
    """The posterior of a run's checkpoint."""
    with ipc.open_file(str(run_folder / "pool.arrow")) as file:
        pool = TaskPool.from_arrow(file.read_all(), "weak", "strong")
    return BOTS.load(run_folder / "checkpoints" / f"step_{step:06d}" / POSTERIOR, pool)


def noted(sweep_folder, value):
    """Whether Ray Tune has recorded a trial's value."""
    return any(repr(value) in path.read_text() for path in sweep_folder.glob("tune/experiment_state-*.json"))


@pytest.fixture
def quick_jobs():
    original = trials._drive
    quick_sweep.install()
    yield
    quick_sweep.uninstall(original)


@pytest.mark.slow
def test_a_population_passes_checkpoints_on_with_the_posterior_and_new_values_and_may_be_killed(
    cluster, quick_jobs, tmp_path
):
    """Of runs without engines and learners; below, a real one is continued as the copy of another."""
    given = [
        *SMALL,
        f"sweep.folder={tmp_path}",
        "scheduler.interval=1",
        "search.trials=2",
        "search.concurrent=2",
    ]
    given += ["base.run.steps=2", "search.metric=score"]
    sweep = load_sweep("tune_configs/pbt.yaml", given)
    folder = tmp_path / "pbt" / "trials"

    def taken_over():
        """A run took over another's checkpoint, and Ray Tune has recorded it."""
        points = [load_config(path.with_name("config.yaml")) for path in folder.glob("[!.]*/lineage.jsonl")]
        return any(noted(tmp_path / "pbt", point.selection.lam) for point in points)

    kill_when(taken_over, "tune_configs/pbt.yaml", given, job=[quick_sweep.__name__])
    results = run(sweep, resume=True)
    assert {t.status for t in results.trials} == {"finished"}, [t.error for t in results.trials]
    lineages = list(folder.glob("*/lineage.jsonl"))
    assert len(lineages) == 1, "of two, the worse one takes over the better"
    origin = json.loads(lineages[0].read_text())
    heir, donor = lineages[0].parent, folder / origin["from"]
    assert origin == {"from": donor.name, "step": 1}

    records = read_metrics(heir)
    assert [record["step"] for record in records] == [0, 1, 2]
    weights = [[r.get("weights") for r in read_metrics(path)] for path in (heir, donor)]
    assert weights[0][1] == weights[1][1], "the heir's first step is the donor's"
    own, theirs = (load_config(path / "config.yaml") for path in (heir, donor))
    assert (own.selection.lam, own.selection.rho) != (theirs.selection.lam, theirs.selection.rho)
    assert records[-1]["posterior/lam"] == own.selection.lam

    before, after = beliefs(donor, 1), beliefs(heir, 1)
    for name in before.table().column_names:
        one, two = (bots.table()[name].to_numpy() for bots in (before, after))
        assert one.tobytes() == two.tobytes() if one.dtype != object else (one == two).all(), name
    assert (before.lam, before.rho) == (theirs.selection.lam, theirs.selection.rho), (
        "the donor's are untouched"
    )
    assert (after.lam, after.rho) == (own.selection.lam, own.selection.rho)
    assert np.array_equal(before.select(8), after.select(8)), "the random numbers are the donor's too"

    # Ray Tune lost its record of a takeover: it gives the donor its own checkpoint, but the folder is from elsewhere.
    with run_of_checkpoint(donor) as checkpoint:
        other = theirs.model_copy(update={"selection": own.selection})
        adopt(heir, other)
        assert (donor / "lineage.jsonl").exists()
        adopt(Path(checkpoint), theirs)
    assert read_metrics(donor)[1]["weights"] == weights[1][1]
    assert not (donor / "lineage.jsonl").exists(), "it is itself again"


@pytest.mark.slow
def test_a_real_run_goes_on_as_the_copy_of_another_with_new_values(finished_run, tmp_path):
    donor, _ = finished_run
    config = donor.model_copy(
        update={
            "run": donor.run.model_copy(update={"folder": tmp_path, "name": "heir", "steps": 4}),
            "selection": donor.selection.model_copy(update={"p_star": 0.7}),
            "learner": donor.learner.model_copy(update={"lr": 4e-4}),
        }
    )
    with run_of_checkpoint(donor.run.path) as checkpoint:
        adopt(Path(checkpoint), config)
    train(config, resume=True)
    theirs, own = read_metrics(donor.run.path), read_metrics(config.run.path)
    assert own[:4] == theirs
    assert [record["step"] for record in own] == [0, 1, 2, 3, 4]
    assert own[-1]["weights"] != own[-2]["weights"]
    assert own[-1]["lr"] == pytest.approx(4e-4 * 4 / config.learner.warmup_steps)
    assert own[-1]["posterior/p_star"] == 0.7
    assert abs(own[-1]["mismatch_kl"]) < 1e-4, "its engines have the donor's weights"


@pytest.mark.parametrize(
    ("done", "known", "end"),
    [(0, 0, 20), (20, 20, 40), (20, 0, 20), (47, 40, 60), (40, 20, 40), (60, 60, 65), (65, 60, 65)],
)
def test_a_segment_that_was_done_but_not_reported_comes_first(done, known, end):
    assert segment_end(done, known, interval=20, steps=65) == end


def test_a_sweep_says_what_the_job_that_it_varies_warns_of(cluster, tmp_path):
    said = io.StringIO()
    (tmp_path / "lab_asha").mkdir()
    (tmp_path / "lab_asha" / "thesis.tex").write_text("years of work")
    few = "base.pool.sources.0.seed=8"  # the lab's anchors are for the tasks drawn with seed 7
    sweep = load_sweep("tune_configs/lab_asha.yaml", [*SMALL, few, f"sweep.folder={tmp_path}"])
    with pytest.raises(ConfigError, match="not a sweep's folder"):
        run_sweep(sweep, Console(file=said, width=400))
    assert "warning:" in said.getvalue()
    assert "of the pool's 200 tasks have no reference pass rates" in said.getvalue()


def test_a_run_that_its_sweep_ended_says_why(tmp_path):
    ended = [("a", "failed", "NoGraderError: none is left"), ("b", "stopped", None), ("c", "finished", None)]
    for name, _, _ in ended:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    trials = [SimpleNamespace(name=n, status=s, seconds=5.0, error=e) for n, s, e in ended]
    close_runs(SimpleNamespace(trials=trials), tmp_path)
    said = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("*/summary.json")}
    assert {name: (summary["status"], summary["reason"]) for name, summary in said.items()} == {
        "a": ("failed", "NoGraderError: none is left"),
        "b": ("stopped", None),
    }


def test_a_run_without_a_checkpoint_cannot_be_adopted(small_job, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no checkpoint to go on from"):
        adopt(tmp_path / "empty", small_job())


def left_behind(config, steps, status=None):
    """A trial's folder as a killed sweep leaves it: a checkpoint of step 2, and a journal that is ahead of it."""
    folder = config.run.path
    make_checkpoint(folder, 2)
    (folder / "config.yaml").write_text(dump_config(config))
    lines = [json.dumps({"step": step, "score": 0.1 * step}) for step in range(steps + 1)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n" + '{"step": 99, "sc')
    if status:
        (folder / "summary.json").write_text(json.dumps({"status": status}))


def test_a_trial_goes_on_from_its_checkpoint_only_if_the_run_is_its_own(small_job):
    config = small_job("run.steps=4")
    assert not can_resume(config)
    left_behind(config, steps=3)
    longer = small_job("run.steps=6")
    assert can_resume(longer), "how far it goes is not what it is"
    assert [record["step"] for record in read_metrics(config.run.path)] == [0, 1, 2], (
        "what it will do again is gone"
    )
    # Ray Tune gives the name of a trial it has not recorded to another one.
    assert not can_resume(small_job("run.steps=4", "selection.lam=0.4"))
    assert not config.run.path.exists()


@pytest.mark.parametrize(
    ("steps", "status", "ended"),
    [(4, "finished", True), (4, "failed", False), (4, None, False), (3, "stopped", False)],
)
def test_a_trial_that_had_ended_before_the_sweep_could_note_it_is_not_run_again(
    small_job, steps, status, ended
):
    config = small_job("run.steps=4")
    assert not has_ended(config)
    left_behind(config, steps, status)
    assert has_ended(config) == ended
    assert not has_ended(small_job("run.steps=4", "selection.lam=0.4"))
