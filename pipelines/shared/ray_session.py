"""A Ray session for the duration of a job."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

import psutil
import ray
from ray._private import services
from ray.util import list_named_actors

from actors.environment import exported
from actors.fatal import FatalError
from actors.fork_server import fork_server
from bots.config.tree import ConfigError

log = logging.getLogger(__name__)

NAMESPACE = "bots"
ADDRESS = "RAY_ADDRESS"
API_SERVER = "RAY_API_SERVER_ADDRESS"
CLOSED_PORT = "http://127.0.0.1:9"
"""The port of the discard service, which no current system serves."""
START_ATTEMPTS = 2
START_SECONDS = 180.0
"""How long a local Ray may take to start, in each attempt."""
START_TIMEOUT = "timed out during startup"
"""In Ray's error if its own processes did not start in time."""
START_LIMITS = {"RAY_agent_register_timeout_ms": str(int(1000 * START_SECONDS))}
"""A raylet ends itself if its agents take longer than this to start: on a machine whose cores are taken, Ray's own 30 s
are too few."""
PREVIOUS_RUN_SECONDS = 60.0
"""How long the previous process of a job may take to end after it was killed or told to stop."""


def uses_local_ray() -> bool:
    """Whether a job that starts now starts its own local Ray instead of joining a cluster."""
    return ADDRESS not in os.environ


UNWATCHED = {
    "REPORTER_UPDATE_INTERVAL_MS": "60000",  # of its node's load
    "LOG_NAME_UPDATE_INTERVAL_S": "10",  # the driver asks for no logs
    "AUTOSCALER_UPDATE_INTERVAL_S": "60",  # there is one node
    "RAY_metrics_report_interval_ms": "60000",
    "RAY_task_events_report_interval_ms": "0",  # off: the state of every call
}
"""What the processes of a local Ray need not tell anybody if it has no dashboard: 5 % of a small machine's CPU time."""


@contextmanager
def _own_api_server(dashboard: bool) -> Iterator[None]:
    """While a local Ray starts: keep its processes from asking another Ray's API server.

    Every second, Ray Train asks the API server whether the job's controller is alive, and releases the learners'
    resources if it is not. A local Ray without a dashboard would ask the server of another Ray on this machine, or the
    one in RAY_API_SERVER_ADDRESS (set for `ray job submit`). That server does not know the controller, and living
    learners would be killed. With an address that nothing serves, nothing is released.
    """
    before = os.environ.pop(API_SERVER, None)
    if not dashboard:
        os.environ[API_SERVER] = CLOSED_PORT
    try:
        yield
    finally:
        os.environ.pop(API_SERVER, None)
        if before is not None:
            os.environ[API_SERVER] = before


@contextmanager
def ray_session(dashboard: bool = False, models: bool = True) -> Iterator[None]:
    """Join the cluster (RAY_ADDRESS, `ray job submit`) or start a local Ray; a running session is left alone.

    dashboard: whether a local Ray has one. A cluster has its own. models: whether engines or learners will run, so
    that the workers of a local Ray are forked from a process that has imported what these need.
    """
    if ray.is_initialized():
        yield
        return
    sigterm_handler = signal.getsignal(signal.SIGTERM)
    with ExitStack() as ends:
        if uses_local_ray():
            with _own_api_server(dashboard), exported(START_LIMITS | ({} if dashboard else UNWATCHED)):
                if models:
                    ends.enter_context(fork_server())
                # "local", because Ray would otherwise join whatever `ray start` left on this machine.
                _init(address="local", include_dashboard=dashboard)
        else:
            # Passed on, so that what the job starts asks this cluster too if another Ray runs on the machine.
            _init(runtime_env={"env_vars": {ADDRESS: os.environ[ADDRESS]}})
        ends.callback(ray.shutdown)
        if threading.current_thread() is threading.main_thread():
            # Ray installs its own handler, under which the job could not clean up.
            signal.signal(signal.SIGTERM, sigterm_handler)
        yield


class _RayletEnded(Exception):
    """Not a RuntimeError: Ray would keep asking for the node."""


@contextmanager
def _patience(seconds: float = START_SECONDS, others: Set[psutil.Process] = frozenset()) -> Iterator[None]:
    """While a local Ray starts: wait longer for its node to register than Ray's 30 s, a limit that can't be set.

    On a machine whose cores are taken, a start takes minutes; ended after 30 s each, four attempts got nowhere.
    others: child processes that do not belong to this Ray. Raises _RayletEnded at once if the node's process has ended.
    """
    ask = services.get_node
    raylets: set[psutil.Process] = set()

    def wait(*args: Any, **options: Any) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                return ask(*args, **options)  # type: ignore[no-untyped-call]
            except RuntimeError:  # not registered yet
                raylets.update(_raylets(others))
                if any(_has_ended(raylet) for raylet in raylets):
                    raise _RayletEnded("the raylet ended before its node was registered") from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    services.get_node = wait
    try:
        yield
    finally:
        services.get_node = ask


def _raylets(others: Set[psutil.Process]) -> Iterator[psutil.Process]:
    for process in set(psutil.Process().children()) - others:
        with suppress(psutil.NoSuchProcess):
            if process.name() == "raylet":
                yield process


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class RayStartError(FatalError):
    """Ray that does not start here, or can't be reached, in one line."""


def _init(attempts: int = START_ATTEMPTS, **options: Any) -> None:
    before = set(psutil.Process().children())
    try:
        with _patience(others=before) if options.get("address") == "local" else nullcontext():
            ray.init(namespace=NAMESPACE, logging_level=logging.ERROR, log_to_driver=False, **options)
    except Exception as error:
        # The next attempt finds more of Ray cached.
        if attempts > 1 and (isinstance(error, _RayletEnded) or START_TIMEOUT in str(error)):
            ray.shutdown()
            # Ray would end the processes of a failed start only when this process ends.
            for process in set(psutil.Process().children()) - before:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            why = error if isinstance(error, _RayletEnded) else f"not within {START_SECONDS:g} s"
            log.warning("Ray did not start (%s): this machine is busy; trying again", why)
            return _init(attempts - 1, **options)
        lines = str(error).strip().splitlines()
        if isinstance(error, ValueError) or not lines:
            raise
        where = os.environ.get(ADDRESS)
        ray.shutdown()
        raise RayStartError(
            f"Ray can't be reached at {ADDRESS}={where}: {lines[-1]}"
            if where
            else f"Ray does not start on this machine ({type(error).__name__}: {lines[-1]}); it may be too busy, or "
            "have too little memory: try again, or see /tmp/ray/session_latest/logs"
        ) from error


def wait_for_previous_run(run: str) -> None:
    """Wait until the previous process of a run, killed a moment ago on a living cluster, has ended.

    It would otherwise keep writing to the run's folder. Raises ConfigError if it does not end.
    """
    deadline = time.monotonic() + PREVIOUS_RUN_SECONDS
    namespace = ray.get_runtime_context().namespace
    while alive := [
        actor["name"]
        for actor in list_named_actors(all_namespaces=True)
        if actor["namespace"] == namespace and actor["name"].startswith(f"{run}/")
    ]:
        if time.monotonic() > deadline:
            raise ConfigError(
                f"run.name is {run}, and a run of that name is alive on this cluster ({', '.join(alive)}). "
                "End it, or choose another name"
            )
        time.sleep(0.2)
