"""A fork server for the workers of a local Ray on a CPU: what every worker imports is imported once.

Ray starts each worker as a new Python process. A run has about twenty, and on a small machine their imports of Ray,
torch, vLLM, transformers and DeepSpeed are most of a start. Here one process imports them, and Ray's command for a
worker (`forked_worker.py`) asks it for a fork: the worker is ready at once and shares the packages' memory with the
others. If the server is gone, the command starts the worker in Ray's own way.

Not for GPUs, whose workers need variables set before these imports, nor for a cluster, whose nodes start their own
workers.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import inspect
import json
import logging
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from actors.environment import engine_environment, exported, learner_environment
from actors.leaving import leave
from actors.loading import FOR_SOUND, loading

ADDRESS = "BOTS_FORK_SERVER"
"""The variable with the server's address, for `forked_worker.py`."""
WORKER_COMMAND = Path(__file__).with_name("forked_worker.py")
LARGE = (
    "torch",
    "pandas",
    "actors.lean_deepspeed",
    "vllm",
    "vllm.v1.worker.cpu_worker",
    "vllm.model_executor.models.qwen2",
)
"""What is imported first. No Ray: it reads its settings when it is imported, and the first worker brings them."""
PACKAGES = (
    "ray._private.workers.default_worker",
    "ray.train.torch",
    "ray.train.v2._internal.execution.controller.controller",
    "actors.rollout",
    "actors.engine",
    "actors.learner",
    "actors.coordinator",
    "actors.posterior",
    "actors.grader",
)
"""What is imported then; none of it may start a thread, since a fork has only the thread that forks."""
HEADER = struct.Struct("!I")
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from actors.fork_server import serve; serve(int(sys.argv[1]), *json.loads(sys.argv[3]))"
)


class ForkServer:
    """The server's process, and Ray's use of it. It starts at once, and imports while the driver does."""

    def __init__(self, large: Sequence[str] = LARGE, packages: Sequence[str] = PACKAGES) -> None:
        self._ends = ExitStack()
        folder = tempfile.TemporaryDirectory(prefix="bots-fork-", ignore_cleanup_errors=True)
        self._address = f"{self._ends.enter_context(folder)}/server"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            listening.bind(self._address)
            # From here on workers can ask; they are answered when the imports are done.
            listening.listen(256)
            process = subprocess.Popen(
                [
                    *(sys.executable, "-c", _BOOT),
                    *(str(listening.fileno()), json.dumps(sys.path), json.dumps([large, packages])),
                ],
                pass_fds=(listening.fileno(),),
                stdin=subprocess.PIPE,  # closes with this process: the server then ends
                env={**os.environ, **learner_environment(1, False), **engine_environment(1, False)},
                start_new_session=True,  # Ctrl-C is for the driver
            )
        assert process.stdin
        self._ends.callback(process.stdin.close)
        self._ends.callback(process.wait)
        self._ends.callback(process.kill)

    def close(self) -> None:
        """End the server. Its workers live on; Ray ends them, as always."""
        self._ends.close()

    @contextmanager
    def starts_workers(self) -> Iterator[None]:
        """A local Ray that starts inside gets its workers here. Ray has no setting for its command for a worker."""
        from ray._private import services

        start = services.start_raylet
        arguments = inspect.signature(start)

        def started(*given: Any, **named: Any) -> Any:
            bound = arguments.bind(*given, **named)
            bound.arguments["setup_worker_path"] = str(WORKER_COMMAND)
            return start(*bound.args, **bound.kwargs)

        services.start_raylet = started
        outer = os.environ.get(ADDRESS)
        os.environ[ADDRESS] = self._address
        try:
            # The first workers wait for the imports; Ray's own limit is 60 s.
            with exported({"RAY_worker_register_timeout_seconds": "600"}):
                yield
        finally:
            services.start_raylet = start
            del os.environ[ADDRESS]
            if outer is not None:
                os.environ[ADDRESS] = outer


_early: list[ForkServer] = []


def can_fork() -> bool:
    """Whether a job that starts now may use a fork server: on Linux, with a Ray of its own, and without a GPU.

    BOTS_FORK_SERVER=0 turns it off.
    """
    devices = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri/renderD128", "/dev/accel")
    wanted = os.environ.get(ADDRESS) != "0" and "RAY_ADDRESS" not in os.environ
    return sys.platform == "linux" and wanted and not any(map(os.path.exists, devices))


def start_early() -> None:
    """Start the server of the Ray session to come, before this process imports Ray and torch itself."""
    if can_fork() and not _early:
        _early.append(ForkServer())
        atexit.register(_close_early)


def _close_early() -> None:
    """End a server that no session took, since its job was refused."""
    while _early:
        _early.pop().close()


@contextmanager
def fork_server() -> Iterator[None]:
    """A local Ray that starts inside gets its workers from a fork server, if there can be one."""
    if not can_fork():
        yield
        return
    server = _early.pop() if _early else ForkServer()
    with ExitStack() as ends:
        ends.callback(server.close)
        ends.enter_context(server.starts_workers())
        yield


def serve(listening: int, large: Sequence[str], packages: Sequence[str]) -> None:
    """Import the packages, then fork a worker for every request until stdin closes. Returns in no worker."""
    # vLLM reads its log level too late to hold back a warning about Triton, which the driver's terminal would show.
    logging.getLogger("vllm").setLevel(logging.ERROR)
    with loading(without=FOR_SOUND):
        for name in large:
            importlib.import_module(name)
    order = _Server(socket.socket(fileno=listening), packages).run()
    if order is not None:
        _work(order)


def _import_ray(packages: Sequence[str], environment: dict[str, str]) -> None:
    """Import Ray and what uses it, with the settings of the workers to come.

    Raises RuntimeError if these imports have used Ray's generator of ids: all workers would draw the same ones.
    """
    os.environ.update({name: value for name, value in environment.items() if name.startswith("RAY_")})
    import ray.actor

    module: Any = ray.actor  # its annotations do not have the class
    ids, module.ActorClassID = module.ActorClassID, _FreshIds
    with loading():
        for name in packages:
            importlib.import_module(name)
    module.ActorClassID = ids
    if _drawn_in_fork() == _drawn_in_fork():
        raise RuntimeError("workers forked from here would draw the same ids: Ray starts them itself")
    # Collections would write into pages that the workers share.
    gc.disable()
    gc.freeze()


def _drawn_in_fork() -> bytes:
    """The first id that a forked worker draws."""
    from ray._raylet import UniqueID

    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, UniqueID.from_random().binary())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with open(reading, "rb") as file:
        return file.read()


class _FreshIds:
    """Ids for Ray's actor classes while they are imported, which leave Ray's generator unused."""

    @staticmethod
    def from_random() -> Any:
        """A random id."""
        from ray._raylet import ActorClassID

        return ActorClassID(os.urandom(ActorClassID.size()))


class _Server:
    """The loop of the server. A worker's client waits for it on its connection, and is told its exit status."""

    def __init__(self, listening: socket.socket, packages: Sequence[str]) -> None:
        self._packages: Sequence[str] | None = packages  # None: imported
        self._events = selectors.DefaultSelector()
        self._listening = listening
        self._events.register(listening, selectors.EVENT_READ, self._accept)
        self._events.register(sys.stdin, selectors.EVENT_READ, None)
        self._clients: dict[int, tuple[socket.socket, int]] = {}

    def run(self) -> dict[str, Any] | None:
        """Returns None when the driver is gone, and in a forked worker its order."""
        while True:
            for key, _ in self._events.select():
                if key.data is None:
                    return None
                order: dict[str, Any] | None = key.data()
                if order is not None:
                    return order

    def _accept(self) -> dict[str, Any] | None:
        client, _ = self._listening.accept()
        try:
            order, streams = _receive(client)
        except (OSError, EOFError, ValueError):
            client.close()  # it has ended, and needs no worker
            return None
        if self._packages is not None:
            _import_ray(self._packages, order["environment"])
            self._packages = None
        pid = os.fork()
        if pid == 0:
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            self._listening.close()
            client.close()
            for other, pidfd in self._clients.values():
                other.close()
                os.close(pidfd)
            self._events.close()
            return order
        for stream in streams:
            os.close(stream)
        with suppress(OSError):  # the client has ended: `_left` will see it
            client.sendall(HEADER.pack(pid))
        pidfd = os.pidfd_open(pid)
        self._clients[pid] = client, pidfd
        self._events.register(pidfd, selectors.EVENT_READ, lambda: self._ended(pid))
        self._events.register(client, selectors.EVENT_READ, lambda: self._left(pid))
        return None

    def _ended(self, pid: int) -> None:
        """A worker has ended: tell its client."""
        _, status = os.waitpid(pid, 0)
        client, pidfd = self._clients.pop(pid)
        self._events.unregister(pidfd)
        os.close(pidfd)
        if client in self._events.get_map():
            self._events.unregister(client)
        with suppress(OSError):  # the client has ended, too
            client.sendall(HEADER.pack(os.waitstatus_to_exitcode(status) & 0xFF))
        client.close()

    def _left(self, pid: int) -> None:
        """A client was killed, by a raylet that does not know its worker yet: the worker goes, too."""
        if pid not in self._clients:
            return  # both have ended
        client, _ = self._clients[pid]
        self._events.unregister(client)
        os.kill(pid, signal.SIGKILL)


def _receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """An order and the standard streams of the worker."""
    client.settimeout(10.0)
    header, streams, _, _ = socket.recv_fds(client, HEADER.size, 3)
    (size,) = HEADER.unpack(header)
    body = b""
    while len(body) < size:
        part = client.recv(size - len(body))
        if not part:
            raise EOFError
        body += part
    client.settimeout(None)
    order: dict[str, Any] = json.loads(body)
    return order, streams


def _work(order: dict[str, Any]) -> None:
    """Become the worker: everything that a new process would have got from the raylet, then Ray's own script."""
    gc.enable()
    # As a raylet's own child has: it ends a worker's whole group with the worker.
    os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    os.setpriority(os.PRIO_PROCESS, 0, order["priority"])
    Path("/proc/self/oom_score_adj").write_text(order["oom_score"])
    signal.pthread_sigmask(signal.SIG_SETMASK, order["blocked_signals"])
    from ray._private.utils import update_envs

    update_envs(order["variables"])
    script, *arguments = order["command"]
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    status: object = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        status = ended.code or 0
    leave(status if isinstance(status, int) else 1)
