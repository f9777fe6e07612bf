"""A node disappears under a running job, with and without notice."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bots.rollouts.ledger import audit
from pipelines.shared.summary import read_metrics
from tests.heads import started_head
from tests.waiting import PATIENCE_S, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.ray]
ROOT = Path(__file__).parents[2]
SMALL = [
    "pool.sources.0.size=200", "selection.tasks=8", "rollout.samples=4", "rollout.engines=2", "rollout.cpus=1",
    "learner.ranks=1", "learner.cpus=1", "evaluation.pool=null", "rollout.max_staleness=1", "run.wait_for_nodes_s=400",
    "run.nodes_join_by_hand=true",
]  # fmt: skip


class Node:
    """An additional node of a head's cluster: `ray start --address`."""

    def __init__(self, head, cpus):
        command = [
            Path(sys.executable).parent / "ray",
            "start",
            f"--address={head.gcs}",
            "--block",
            f"--num-cpus={cpus}",
        ]
        env = head.env | {head.marker: "1"}
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def die(self):
        """Kill everything on the node at once, as if the machine were switched off."""
        family = [
            *psutil.Process(self.process.pid).children(recursive=True),
            psutil.Process(self.process.pid),
        ]
        for one in family:
            one.kill()


def job(head, folder, log, *overrides):
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.train", "configs/lab.yaml", *SMALL, f"run.folder={folder}", *overrides],
        cwd=ROOT, env=head.env | {"RAY_ADDRESS": head.gcs}, stdout=log, stderr=log,
    )  # fmt: skip


def step_of(folder):
    path = folder / "lab" / "metrics.jsonl"
    records = read_metrics(folder / "lab") if path.exists() else []
    return records[-1]["step"] if records else -1


BALLAST = """
import numpy, ray, time
ray.init()
held = [ray.put(numpy.ones(1_000_000)) for _ in range(9)]
print("full", flush=True)
time.sleep(3600)
"""


@contextlib.contextmanager
def full_object_store(head):
    """Another job holds 72 of its 80 MB."""
    env = head.env | {"RAY_ADDRESS": head.gcs}
    process = subprocess.Popen([sys.executable, "-c", BALLAST], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "full\n"
        yield
    finally:
        process.kill()


def test_a_run_outlives_a_node_and_a_full_object_store_and_heeds_a_notice(tmp_path):
    variables = {
        "RAY_health_check_period_ms": "1000",
        "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "80000000",
        "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    }
    folder = tmp_path / "lab" / "checkpoints"
    said = tmp_path / "driver.log"
    with started_head(**variables) as head, full_object_store(head), said.open("w") as log:
        run = job(head, tmp_path, log, "run.steps=100000", "run.checkpoint_every=100000")

        def joined():
            assert run.poll() is None, said.read_text()
            with contextlib.suppress(OSError):  # the dashboard responds a while before it knows of jobs
                drivers = [one["driver_info"] for one in head.asked("/api/jobs/")]
                return str(run.pid) in [driver["pid"] for driver in drivers if driver]

        def reached(step):
            assert run.poll() is None, said.read_text()
            return step_of(tmp_path) >= step

        try:
            wait_for(joined, "the driver to join the head: its own node it can't outlive")
            second = Node(head, cpus=1)
            wait_for(lambda: reached(3), "the third step")
            second.die()
            Node(head, cpus=1)
            wait_for(lambda: reached(11), "work to go on")

            (node,) = [one for one in head.nodes() if one["is_head_node"]]
            # The head itself, with an hour's notice: it stays for the duration of this test.
            drained = head.ray(
                "drain-node", f"--address={head.gcs}", f"--node-id={node['node_id']}",
                "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=the spot market",
                "--deadline-remaining-seconds=3600",
            )  # fmt: skip
            assert drained.returncode == 0, drained.stderr
            # A spot market gives two minutes' notice.
            wait_for(lambda: list(folder.glob("step_*/progress.pkl")), "the checkpoint", 120)
            run.send_signal(signal.SIGTERM)
            assert run.wait(PATIENCE_S) == 130, said.read_text()
            spilled = head.ray("memory", f"--address={head.gcs}", "--stats-only").stdout
            assert "Spilled" in spilled, spilled
        finally:
            run.kill()
            print(said.read_text())
    records = read_metrics(tmp_path / "lab")
    assert [record["step"] for record in records] == list(range(len(records)))
    found = audit(tmp_path / "lab" / "ledger.jsonl")
    assert len(found.trained) == 8 * records[-1]["step"], "every step trained its tasks, each once"
    assert found.losses + found.rewinds > 1, "it did hit something"
    assert not found.dropped
    saved = [int(path.parent.name.removeprefix("step_")) for path in folder.glob("step_*/progress.pkl")]
    announced, last = sorted(saved)
    assert 11 < announced < last == records[-1]["step"], (
        "when the node was announced to leave, and at the end"
    )
