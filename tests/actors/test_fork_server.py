"""The fork server of a local Ray: workers that start warm and share nothing that must be their own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray

from actors.fork_server import ADDRESS, WORKER_COMMAND, ForkServer, can_fork

pytestmark = pytest.mark.skipif(not can_fork(), reason="the fork server is for Linux machines without a GPU")

SCRIPT = """
import json, os, sys, time
print(json.dumps({
    "arguments": sys.argv[1:], "name": __name__, "parent": os.getppid(), "folder": os.getcwd(), "pid": os.getpid(),
    "group": os.getpgid(0), "threads": os.environ.get("OMP_NUM_THREADS"), "priority": os.getpriority(0, 0),
    "warm": "ray" in sys.modules, "said": os.environ.get("SAID"), "path": sys.path[0],
}), flush=True)
if "wait" in sys.argv:
    time.sleep(60)
sys.exit(7)
"""


@pytest.fixture(scope="module")
def server():
    """A server that imports Ray only."""
    with contextlib.closing(ForkServer(large=(), packages=("ray",))) as server:
        yield server


@pytest.fixture
def script(tmp_path):
    """A worker's script in place of Ray's, which tells what it finds."""
    path = tmp_path / "default_worker.py"
    path.write_text(SCRIPT)
    return path


def command(script: Path, *arguments: str, **context: object) -> list[str]:
    given = f"--serialized-runtime-env-context={json.dumps(context)}"
    return [sys.executable, str(WORKER_COMMAND), given, str(script), *arguments, "--language=PYTHON"]


def start(server: ForkServer, *given: object, **named: object) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        ADDRESS: server._address,
        "RAY_AUTH_MODE": "token",
        "RAY_JOB_ID": "ffffffff",
        "RAY_RAYLET_PID": str(os.getpid()),
    }
    return subprocess.Popen(
        command(*given, **named), env=environment, stdout=subprocess.PIPE, text=True, cwd="/tmp"
    )


def test_a_worker_has_what_a_new_process_would_have(server, script):
    worker = start(server, script, "one", env_vars={"SAID": "hello", "OMP_NUM_THREADS": "3"})
    told = json.loads(worker.stdout.read())
    assert worker.wait() == 7
    assert told["warm"]
    assert told["parent"] != worker.pid
    assert told["arguments"] == ["one"]
    assert told["name"] == "__main__"
    assert told["folder"] == "/tmp"
    assert told["path"] == str(script.parent)
    assert told["said"] == "hello"
    assert told["threads"] == "3"
    # A raylet ends the group of a worker that has ended.
    assert told["group"] == told["pid"]
    assert told["priority"] == os.getpriority(os.PRIO_PROCESS, 0)


def test_a_worker_goes_with_the_command_that_the_raylet_killed(server, script):
    worker = start(server, script, "wait")
    told = json.loads(worker.stdout.readline())
    worker.kill()
    worker.wait()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(told["pid"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not psutil.pid_exists(told["pid"])


def test_a_killed_worker_ends_its_command_and_no_other(server, script):
    killed, other = (start(server, script, "wait") for _ in range(2))
    pid = json.loads(killed.stdout.readline())["pid"]
    os.kill(pid, signal.SIGKILL)
    assert killed.wait(20) != 0
    assert other.poll() is None
    other.kill()
    other.wait()


@pytest.mark.parametrize(
    ("lacks", "context"),
    [("server", {}), ("", {"command_prefix": ["true", "&&"]}), ("", {"py_executable": "/usr/bin/python3"})],
)
def test_what_the_server_cannot_start_is_started_as_ray_does(server, script, lacks, context):
    setup = script.with_name("setup_worker.py")
    setup.write_text("import sys; print('setup_worker', *sys.argv[1:])")
    environment = {**os.environ, ADDRESS: "/nowhere" if lacks else server._address}
    done = subprocess.run(command(script, "one", **context), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("setup_worker ")
    assert str(script) in done.stdout


def test_a_worker_without_an_environment_of_its_own_is_started_without_the_server(script):
    """Ray then gives no context and needs no `setup_worker.py`."""
    given = [sys.executable, str(WORKER_COMMAND), str(script), "one", "--language=PYTHON"]
    done = subprocess.run(
        given, env={**os.environ, ADDRESS: "/nowhere"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done.stderr
    told = json.loads(done.stdout)
    assert told["arguments"] == ["one"]
    assert not told["warm"]


def test_workers_outlive_the_server(script):
    server = ForkServer(large=(), packages=("ray",))
    worker = start(server, script, "wait")
    pid = json.loads(worker.stdout.readline())["pid"]
    server.close()
    assert worker.wait(20) == 0
    assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    os.kill(pid, signal.SIGKILL)


def test_packages_that_draw_ids_are_refused(tmp_path, monkeypatch, script, capfd):
    """All workers would otherwise name different objects alike."""
    (tmp_path / "draws.py").write_text("import ray\nray.NodeID.from_random()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    script.with_name("setup_worker.py").write_text("print('setup_worker')")
    with contextlib.closing(ForkServer(large=(), packages=("draws",))) as server:
        worker = start(server, script)
        assert worker.stdout.read() == "setup_worker\n"
    assert "would draw the same ids" in capfd.readouterr().err


@ray.remote
class Worker:
    def tell(self) -> tuple[str, str, int, bool]:
        from ray._raylet import UniqueID

        job = ray.get_runtime_context().get_job_id()
        return UniqueID.from_random().hex(), job, os.getppid(), "vllm" in sys.modules


def test_workers_of_a_session_are_forked_and_draw_ids_of_their_own(cluster):
    variables = ({}, {"SAID": "a"}, {"SAID": "b"})
    workers = [Worker.options(num_cpus=0, runtime_env={"env_vars": each}).remote() for each in variables]
    told = ray.get([worker.tell.remote() for worker in workers])
    drawn, jobs, parents, warm = zip(*told, strict=True)
    assert len(set(drawn)) == len(drawn)
    assert set(jobs) == {ray.get_runtime_context().get_job_id()}
    assert len(set(parents)) == 1
    assert all(warm)


def test_a_session_inside_another_leaves_its_server_in_place(server, monkeypatch):
    monkeypatch.setenv(ADDRESS, "outer")
    with server.starts_workers():
        assert os.environ[ADDRESS] == server._address
    assert os.environ[ADDRESS] == "outer"
    monkeypatch.delenv(ADDRESS)
    with server.starts_workers():
        pass
    assert ADDRESS not in os.environ
