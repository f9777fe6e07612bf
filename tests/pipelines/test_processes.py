"""The job as a process: interrupted, and submitted to a running cluster."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SMALL = [
    "pool.sources.0.size=200",
    "selection.tasks=8",
    "rollout.samples=4",
    "rollout.engines=1",
    "evaluation.pool.sources.0.size=40",
    "run.checkpoint_every=0",
]


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.2)


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def environment(**extra):
    kept = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE")}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | extra


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_everything_and_keeps_the_results(tmp_path, how):
    marker = f"BOTS_TEST_{os.getpid()}_{how.name}"
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.train", "configs/lab.yaml", *SMALL, "run.steps=100000",
         f"run.folder={tmp_path}"],
        cwd=ROOT, env=environment(**{marker: "1"}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    metrics = tmp_path / "lab" / "metrics.jsonl"
    wait_for(lambda: len(lines(metrics)) > 3 or process.poll() is not None, 120, "the third step")
    assert process.poll() is None, process.stdout.read()
    started = time.monotonic()
    process.send_signal(how)
    output, _ = process.communicate(timeout=30)
    assert time.monotonic() - started < 15, "an interrupt ends the job within 15 s"
    assert process.returncode == 130, output
    assert "results so far are kept" in output

    records = [json.loads(line) for line in lines(metrics)]
    assert [record["step"] for record in records] == list(range(len(records)))
    summary = json.loads((tmp_path / "lab" / "summary.json").read_text())
    assert summary["steps"] == len(records) - 1

    def left_behind():
        found = []
        for one in psutil.process_iter():
            try:
                if marker in one.environ() and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(one.name())
            except psutil.Error:
                continue
        return found

    wait_for(lambda: not left_behind(), 15, f"the end of {left_behind()}")


def test_ray_job_submit_runs_the_job_on_a_started_cluster(tmp_path):
    ports = {name: free_port() for name in ("head", "dashboard", "client")}
    address = f"127.0.0.1:{ports['head']}"
    # Both sides without tokens: `ray start` would else want one since Ray 2.59 (see docs/cluster.md).
    env = environment(
        RAY_AUTH_MODE="disabled", RAY_API_SERVER_ADDRESS=f"http://127.0.0.1:{ports['dashboard']}"
    )
    ray = str(Path(sys.executable).parent / "ray")
    # A short path: the cluster's sockets lie in it, and their names are limited to 107 bytes.
    sockets = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    start = [
        ray, "start", "--head", f"--port={ports['head']}", f"--dashboard-port={ports['dashboard']}",
        f"--ray-client-server-port={ports['client']}", "--num-cpus=2", f"--temp-dir={sockets}",
        "--disable-usage-stats", "--block",
    ]  # fmt: skip
    head = subprocess.Popen(
        start, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:

        def alive():
            with socket.socket() as one:
                return one.connect_ex(("127.0.0.1", ports["dashboard"])) == 0

        wait_for(alive, 60, "the dashboard")
        command = [
            ray, "job", "submit", "--working-dir", ".", "--", "python", "-m", "pipelines.train",
            "configs/lab.yaml", *SMALL, "run.steps=2", f"run.folder={tmp_path / 'runs'}",
        ]  # fmt: skip
        submitted = {}

        def taken():
            """Whether the job was taken: the dashboard answers before the node's agent has joined it."""
            submitted["job"] = subprocess.run(
                command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240
            )
            return "No available agent" not in submitted["job"].stderr

        wait_for(taken, 60, "the agent that starts jobs")
        submit = submitted["job"]
        said = submit.stdout + submit.stderr
        assert submit.returncode == 0, said
        assert re.search(r"Job '.*' succeeded", said), said
        records = [json.loads(line) for line in lines(tmp_path / "runs" / "lab" / "metrics.jsonl")]
        assert [record["step"] for record in records] == [0, 1, 2]
        assert address  # the head that was started, not another one on this machine
    finally:
        # Not `ray stop`: it would end every Ray on this machine.
        family = [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(family, timeout=20)
        shutil.rmtree(sockets, ignore_errors=True)
