"""Ray heads of one's own: started as a person starts them, reached over their addresses, ended by process id."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray._private.services

from pipelines.shared.ray_session import START_TIMEOUT, UNWATCHED
from tests.waiting import wait_for

BIN = Path(sys.executable).parent
ATTEMPTS = 4
"""Starts of a head: on a busy machine one fails by Ray's limits of 30 s, and the next finds more in memory."""
QUIET = {
    name: UNWATCHED[name]
    for name in (
        "REPORTER_UPDATE_INTERVAL_MS",
        "LOG_NAME_UPDATE_INTERVAL_S",
        "RAY_metrics_report_interval_ms",
    )
}
"""Environment of a Ray for tests. Nobody looks at its load, which would cost a twentieth of two cores all the time."""


def _free_port():
    """Below the range from which the system gives ports, so that nothing takes it until the head does."""
    while True:
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
            return one.getsockname()[1]


def processes_with(variable):
    """The living processes that were started with an environment variable."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if variable in one.environ() and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


@dataclass(frozen=True)
class Head:
    """A running head: where it is, and the environment of commands that talk to it."""

    gcs: str
    dashboard: str
    env: dict
    marker: str

    def ray(self, *arguments, cwd=None, **variables):
        """Run a `ray` command against this head; returns the finished process."""
        env = self.env | variables
        return subprocess.run(
            [BIN / "ray", *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=480
        )

    def asked(self, path):
        """What the dashboard answers to a path, parsed from JSON."""
        with urllib.request.urlopen(f"{self.dashboard}{path}", timeout=30) as answer:
            return json.load(answer)

    def nodes(self):
        """The nodes that the dashboard tells of, in detail, those that are gone too."""
        return self.asked("/api/v0/nodes?detail=1")["data"]["result"]["result"]


@contextlib.contextmanager
def started_head(autoscaling=None, token=None, **variables):
    """`ray start --head` on ports of its own.

    autoscaling: a function from the head's GCS address to the text of an autoscaling configuration. token: what
    both sides show each other; none: neither asks, whatever the home folder of the person who runs the tests holds.
    """
    ip = ray._private.services.get_node_ip_address()
    gcs, dashboard, client, agent = (_free_port() for _ in range(4))
    marker = f"BOTS_TEST_HEAD_{gcs}"
    kept = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE")}
    env = kept | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        **({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}),
    }
    # A short path: the cluster's sockets lie in it, and their names are limited to 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    command = [
        BIN / "ray", "start", "--head", "--block", "--disable-usage-stats", f"--port={gcs}",
        f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}", f"--temp-dir={folder}",
        # Where another Ray of this machine holds the usual port, no agent would take jobs.
        f"--dashboard-agent-listen-port={agent}",
    ]  # fmt: skip
    if autoscaling is None:
        command.append("--num-cpus=2")
    else:
        (folder / "cluster.yaml").write_text(autoscaling(f"{ip}:{gcs}"))
        command += ["--num-cpus=0", f"--autoscaling-config={folder / 'cluster.yaml'}"]
    log = folder / "start.log"

    def start():
        with log.open("w") as output:
            return subprocess.Popen(
                command,
                env=env | QUIET | variables | {marker: "1"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def up():
        """The dashboard responds before the node has joined, and `ray start` gives that up after 30 s.

        So does the server for Ray clients, and its end is the head's, which looks for such ends once a second.
        """
        ended, said = process.poll() is not None, log.read_text()
        if "Ray runtime started" in said and not ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            ended, said = process.poll() is not None, log.read_text()
        assert not ended or START_TIMEOUT in said or "ray_client_server.err" in said, said
        return ended or "Ray runtime started" in said

    try:
        for _ in range(ATTEMPTS):
            process = start()
            wait_for(up, "the head")
            if process.poll() is None:
                break
            _end(marker)
        assert process.poll() is None, log.read_text()
        yield Head(f"{ip}:{gcs}", env["RAY_API_SERVER_ADDRESS"], env, marker)
    finally:
        _end(marker)
        shutil.rmtree(folder, ignore_errors=True)


def _end(marker):
    """Not `ray stop`, which would end every Ray on this machine. Twice, for what was being started meanwhile."""
    for _ in range(2):
        family = processes_with(marker)
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(family, timeout=20)
