"""A run on a cluster that changes: Ray's own autoscaler, with processes of this machine as nodes.

Nodes come, one is taken away without notice, another with notice, and another job fills an object store.
"""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE

from bots.rollouts.ledger import audit
from tests.heads import processes_with, started_head
from tests.waiting import PATIENCE_S, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.ray]
ROOT = Path(__file__).parents[2]
NODE_ID = "RAY_OVERRIDE_NODE_ID_FOR_TESTING"
AUTOSCALER = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_FAKE_CLUSTER": "1",
    # As `ray up` sets it.
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    NODE_ID: FAKE_HEAD_NODE_ID,
    # A lost node is noticed after five seconds instead of fifteen.
    "RAY_health_check_period_ms": "1000",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "80000000",
}
BALLAST = """
import sys, time
import numpy, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ray.init()

@ray.remote(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(sys.argv[1], soft=False))
class Ballast:
    def load(self):
        self.held = [ray.put(numpy.ones(1_000_000)) for _ in range(9)]

ballast = Ballast.remote()
ray.get(ballast.load.remote())
print("full", flush=True)
time.sleep(3600)
"""


def cluster_of_processes(gcs_address):
    """cluster.yaml with machines of one place each, which are processes of this machine."""
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    types = config["available_node_types"]
    types[FAKE_HEAD_NODE_TYPE] = types.pop(config["head_node_type"])
    for name, node in types.items():
        node["node_config"] = {}
        if name in ("learner", "rollout"):
            node["resources"] = {"CPU": 1, name: 1}
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "launch_multiple": True,
        "head_node_id": FAKE_HEAD_NODE_ID,
        "gcs_address": gcs_address,
    }
    steps = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return yaml.safe_dump(
        config
        | {"provider": provider, "head_node_type": FAKE_HEAD_NODE_TYPE, "idle_timeout_minutes": 0.1}
        | {"auth": {}, "docker": {}, "file_mounts": {}, "cluster_synced_files": []}
        | {f"{step}_commands": [] for step in steps}
    )


@contextlib.contextmanager
def full_object_store(head, node):
    """Another job holds 72 of a node's 80 MB."""
    env = head.env | {"RAY_ADDRESS": head.gcs}
    command = [sys.executable, "-c", BALLAST, node]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "full\n"
        yield
    finally:
        process.kill()


class Timeline:
    """The state of the cluster and the run, and when it changed."""

    def __init__(self, head, run):
        self.head, self.run = head, run
        self.started = time.monotonic()
        self.lines = []

    def nodes(self):
        """The roles of the living nodes, by node id."""
        alive = [one for one in self.head.nodes() if one["state"] == "ALIVE" and not one["is_head_node"]]
        return {
            node["node_id"]: "rollout" if "rollout" in node["resources_total"] else "learner"
            for node in alive
        }

    def records(self):
        path = self.run / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def is_answered(self):
        """Whether the dashboard can already list nodes."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.nodes() is not None

    def look(self):
        roles, records = list(self.nodes().values()), self.records()
        engines = int(records[-1].get("engines", 0)) if records else 0
        state = f"{roles.count('learner')} learner, {roles.count('rollout')} rollout nodes; {engines} engines"
        if not self.lines or self.lines[-1][2] != state:
            step = records[-1]["step"] if records else None
            self.lines.append((round(time.monotonic() - self.started), step, state))
        return roles, engines

    def note(self, what):
        self.lines.append((round(time.monotonic() - self.started), None, what))

    def __str__(self):
        return "\n".join(
            f"{seconds:4d} s  step {'-' if step is None else step!s:>3}  {what}"
            for seconds, step, what in self.lines
        )


def test_a_run_grows_with_its_cluster_outlives_a_node_and_a_full_object_store_and_heeds_a_notice(tmp_path):
    run = tmp_path / "lab"
    checkpoints = run / "checkpoints"
    with started_head(cluster_of_processes, **AUTOSCALER) as head, contextlib.ExitStack() as ends:
        timeline = Timeline(head, run)
        wait_for(timeline.is_answered, "the dashboard's list of nodes")
        assert timeline.nodes() == {}, "nothing is bought before a run asks"
        log = tmp_path / "driver.log"
        with log.open("w") as output:
            driver = subprocess.Popen(
                [sys.executable, "-m", "pipelines.train", "configs/lab.yaml", "run.steps=100000",
                 f"run.folder={tmp_path}", "run.wait_for_nodes_s=400", "run.checkpoint_every=100000",
                 "pool.sources.0.size=400", "selection.tasks=16", "evaluation.every=100000",
                 "evaluation.pool.sources.0.size=40", "rollout.engines=2", "rollout.min_engines=1",
                 "rollout.cpus=1", "rollout.resources.rollout=1", "rollout.samples=4", "rollout.max_staleness=1",
                 "learner.ranks=1", "learner.cpus=1", "learner.resources.learner=1"],
                cwd=ROOT, env=head.env | {"RAY_ADDRESS": head.gcs}, stdout=output, stderr=output,
            )  # fmt: skip

        def reached(condition, what, seconds=PATIENCE_S):
            def looked():
                assert driver.poll() is None, log.read_text()
                return condition(*timeline.look())

            wait_for(looked, what, seconds)

        try:
            reached(lambda roles, engines: len(timeline.records()) > 1, "the first step")
            reached(lambda roles, engines: engines == 2, "two engines")
            roles = timeline.nodes()
            assert sorted(roles.values()) == ["learner", "rollout", "rollout"]
            learner = next(node for node, role in roles.items() if role == "learner")
            ends.enter_context(full_object_store(head, learner))
            timeline.note("another job fills the learner's object store")

            taken = next(node for node, role in roles.items() if role == "rollout")
            # All its processes at once, as when a spot machine is taken away.
            for process in processes_with(head.marker):
                with contextlib.suppress(psutil.Error):
                    if process.environ().get(NODE_ID) == taken:
                        process.kill()
            timeline.note("a rollout node is taken away")
            reached(lambda roles, engines: engines == 1, "the loss of an engine")
            reached(lambda roles, engines: engines == 2, "the engine's return on another node")
            assert taken not in timeline.nodes()

            # With an hour's notice: the node stays for the duration of this test.
            drained = head.ray(
                "drain-node", f"--address={head.gcs}", f"--node-id={learner}",
                "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=the spot market",
                "--deadline-remaining-seconds=3600",
            )  # fmt: skip
            assert drained.returncode == 0, drained.stderr
            timeline.note("the learner's node is announced to be taken away")
            # A spot market gives two minutes' notice.
            reached(lambda *_: list(checkpoints.glob("step_*/progress.pkl")), "the checkpoint", 120)
            spilled = head.ray("memory", f"--address={head.gcs}", "--stats-only").stdout
            assert "Spilled" in spilled, spilled
        finally:
            driver.send_signal(signal.SIGTERM)
            driver.wait(PATIENCE_S)
            ends.close()
            print(f"\n{timeline}\n{log.read_text()}")
        timeline.note("the run is stopped")
        assert driver.returncode == 130, log.read_text()

        records = timeline.records()
        last = records[-1]["step"]
        assert [record["step"] for record in records] == list(range(len(records)))
        account = audit(run / "ledger.jsonl")
        events = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
        joined = Counter(event["actor"] for event in events if event["event"] == "joined")
        assert set(joined) == {"rollout-0", "rollout-1"}
        assert joined.total() >= 3, "one of them twice: on the node that was lost, and on the next"
        assert account.losses, "the lost node took requests with it"
        assert not account.dropped
        assert set(Counter(account.trained.values()).values()) == {16}, "every step trains B whole groups"
        assert len(account.trained) == 16 * last, "each once"
        saved = [
            int(path.parent.name.removeprefix("step_")) for path in checkpoints.glob("step_*/progress.pkl")
        ]
        announced, at_the_end = sorted(saved)
        assert announced < at_the_end == last, "when the node was announced to leave, and at the end"
        wait_for(lambda: not timeline.look()[0], "all nodes to be given back")
    print(timeline)
