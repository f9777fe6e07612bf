"""The main job, asynchronous, with its real parts killed one after another: it recovers by itself."""

import json
import os
import signal
import threading
import time

import psutil
import pyarrow.parquet as pq
import pytest
import ray

from bots.rollouts.ledger import audit
from pipelines.shared.summary import read_metrics
from pipelines.train import train
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


def once_step(folder, step):
    """Wait until the run has recorded a step."""
    metrics = folder / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and read_metrics(folder)[-1]["step"] >= step, f"step {step}", every=0.1)


def pid_of(name):
    return ray.get(ray.get_actor(name, namespace="bots").pid.remote(), timeout=60)


def a_learner_rank():
    """A process of the learner group; considers only this test's own Ray."""
    for process in psutil.Process().children(recursive=True):
        if "RayTrainWorker" in " ".join(process.cmdline()):
            return process.pid
    raise LookupError("no learner rank")


def check_ledger(config, records):
    """What a run's ledger must show in the end, whatever happened during the run."""
    steps, tasks, k = config.run.steps, config.selection.tasks, config.rollout.max_staleness
    assert [record["step"] for record in records] == list(range(steps + 1)), "every step once"
    found = audit(config.run.path / "ledger.jsonl")
    assert found.selected == tasks * (steps + k + 1)
    assert not found.dropped
    for record in records[1:]:
        of_step = {row for (_, row), step in found.trained.items() if step == record["step"]}
        assert len(of_step) == tasks
        assert record["staleness"] <= k
        rollouts = pq.read_table(config.run.path / "rollouts" / f"{record['step']:06d}.parquet")
        versions = rollouts["policy_version"].to_pylist()
        assert max(record["step"] - 1 - version for version in versions) == record["staleness"]
        assert len(set(rollouts["task"].to_pylist())) == tasks
    return found


def check_checkpoints(config, records):
    """What `run.keep_best` must leave: the best by the last score before it, and the newest to resume."""
    every, steps = config.run.checkpoint_every, config.run.steps
    scores = {}
    for step in [*range(every, steps, every), steps]:
        scores[step] = [record["score"] for record in records[: step + 1] if "score" in record][-1]
    best = max(scores, key=lambda step: (scores[step], step))
    left = {int(folder.name.removeprefix("step_")) for folder in config.run.path.glob("checkpoints/step_*")}
    assert left == {best, steps}, scores
    with (config.run.path / "ledger.jsonl").open() as ledger:
        events = [json.loads(line) for line in ledger]
    # The coordinator was killed after step 11: the group then rewound to the newest checkpoint, whatever its score.
    assert [event["step"] for event in events if event["event"] == "rewound"][-1] >= 9


def test_everything_may_be_killed_and_the_run_goes_on_within_its_staleness(cluster, small_job):
    config = small_job(
        "rollout.max_staleness=2", "rollout.engines=2", "rollout.timeout_s=20", "rollout.start_timeout_s=120",
        "run.steps=16", "learner.lr=1e-4",
        "run.checkpoint_every=3", "run.checkpoints_kept=1", "run.keep_best=true", "grading.actors=2", "learner.ranks=2",
        "learner.max_failures=4", name="killed",
    )  # fmt: skip
    folder, failures = config.run.path, []

    def kill():
        try:
            once_step(folder, 2)
            os.kill(pid_of("killed/rollout-0"), signal.SIGKILL)
            once_step(folder, 4)
            os.kill(pid_of("killed/grader-0"), signal.SIGKILL)
            os.kill(pid_of("killed/posterior"), signal.SIGKILL)
            once_step(folder, 6)
            os.kill(a_learner_rank(), signal.SIGKILL)
            time.sleep(1.0)
            once_step(folder, 9)
            os.kill(pid_of("killed/rollout-1"), signal.SIGSTOP)
            for name in ("killed/journal", "killed/broker"):
                ray.kill(ray.get_actor(name, namespace="bots"), no_restart=False)
            once_step(folder, 11)
            os.kill(pid_of("killed/coordinator"), signal.SIGKILL)
        except BaseException as error:  # noqa: BLE001 (told to the test)
            failures.append(error)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = train(config)
    killer.join()
    assert not failures
    assert summary["steps"] == 16
    records = read_metrics(folder)
    found = check_ledger(config, records)
    check_checkpoints(config, records)
    assert max(record["staleness"] for record in records[1:]) > 0, "generation did run ahead"
    assert all(abs(record["mismatch_kl"]) < 0.1 for record in records[1:])
    assert found.rewinds >= 3, (
        "the start, the rank's death and the coordinator's; the broker's if it was in use"
    )
    # The stopped engine holds requests until its timeout; the killed one may have been idle.
    assert found.losses >= 1
