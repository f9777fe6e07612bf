"""A run that grows with its cluster: Ray's own autoscaler, with processes of this machine as nodes."""

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
}


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


def test_engines_come_with_nodes_and_work_goes_on_when_one_is_taken_away(tmp_path):
    run = tmp_path / "lab"
    with started_head(cluster_of_processes, **AUTOSCALER) as head:
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
                 "rollout.cpus=1", "rollout.resources.rollout=1", "rollout.samples=4", "learner.ranks=1",
                 "learner.cpus=1", "learner.resources.learner=1"],
                cwd=ROOT, env=head.env | {"RAY_ADDRESS": head.gcs}, stdout=output, stderr=output,
            )  # fmt: skip

        def reached(condition, what):
            def looked():
                assert driver.poll() is None, log.read_text()
                return condition(*timeline.look())

            wait_for(looked, what)

        try:
            reached(lambda roles, engines: len(timeline.records()) > 1, "the first step")
            reached(lambda roles, engines: engines == 2, "two engines")
            assert sorted(timeline.nodes().values()) == ["learner", "rollout", "rollout"]

            taken = next(node for node, role in timeline.nodes().items() if role == "rollout")
            # All its processes at once, as when a spot machine is taken away.
            for process in processes_with(head.marker):
                with contextlib.suppress(psutil.Error):
                    if process.environ().get(NODE_ID) == taken:
                        process.kill()
            timeline.note("a rollout node is taken away")
            reached(lambda roles, engines: engines == 1, "the loss of an engine")
            reached(lambda roles, engines: engines == 2, "the engine's return on another node")
            assert taken not in timeline.nodes()
        finally:
            driver.send_signal(signal.SIGTERM)
            driver.wait(PATIENCE_S)
            print(f"\n{timeline}\n{log.read_text()}")
        timeline.note("the run is stopped")
        assert driver.returncode == 130, log.read_text()

        records = timeline.records()
        assert [record["step"] for record in records] == list(range(len(records)))
        account = audit(run / "ledger.jsonl")
        events = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
        joined = Counter(event["actor"] for event in events if event["event"] == "joined")
        assert set(joined) == {"rollout-0", "rollout-1"}
        assert joined.total() >= 3, "one of them twice: on the node that was lost, and on the next"
        assert not account.dropped
        assert set(Counter(account.trained.values()).values()) == {16}, "every step trains B whole groups"
        wait_for(lambda: not timeline.look()[0], "all nodes to be given back")
    print(timeline)
