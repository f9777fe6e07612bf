"""Ray for the time of a job."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util import list_named_actors

from bots.config.tree import ConfigError

NAMESPACE = "bots"
ADDRESS = "RAY_ADDRESS"
API_SERVER = "RAY_API_SERVER_ADDRESS"
NOBODY = "http://127.0.0.1:9"
"""The port of the discard service, on which no machine of today listens."""
ENDING_SECONDS = 60.0
"""How long an earlier life of a job may take to end, once it has been told to or was killed."""


def embedded() -> bool:
    """Whether a job that starts now makes a Ray of its own, in here, rather than join a cluster."""
    return ADDRESS not in os.environ


@contextmanager
def _own_api_server(dashboard: bool) -> Iterator[None]:
    """While a Ray is started in here: its processes are to ask no other Ray's API server.

    Ray Train asks every second whether the job's controller lives, and gives back the learners' places if it does
    not. Without a dashboard of its own it would ask that of another Ray on this machine, or the one that
    RAY_API_SERVER_ADDRESS names for `ray job submit`: there the controller is not known, and the living learners would
    be ended. Where nobody answers, nothing is given back.
    """
    before = os.environ.pop(API_SERVER, None)
    if not dashboard:
        os.environ[API_SERVER] = NOBODY
    try:
        yield
    finally:
        os.environ.pop(API_SERVER, None)
        if before is not None:
            os.environ[API_SERVER] = before


@contextmanager
def ray_session(dashboard: bool = False) -> Iterator[None]:
    """The cluster at hand (RAY_ADDRESS, `ray job submit`), else a Ray in here; one that runs already is left alone.

    dashboard: whether a Ray in here has one. A cluster has its own.
    """
    if ray.is_initialized():
        yield
        return
    on_request_to_end = signal.getsignal(signal.SIGTERM)
    if embedded():
        with _own_api_server(dashboard):
            # Else Ray would join whatever `ray start` has left on this machine.
            _init(address="local", include_dashboard=dashboard)
    else:
        # What the job starts asks the same cluster, too, where another Ray runs on the machine.
        _init(runtime_env={"env_vars": {ADDRESS: os.environ[ADDRESS]}})
    if threading.current_thread() is threading.main_thread():
        # Ray puts a handler of its own in place, under which the job could not clean up.
        signal.signal(signal.SIGTERM, on_request_to_end)
    try:
        yield
    finally:
        ray.shutdown()


def _init(**options: Any) -> None:
    ray.init(namespace=NAMESPACE, logging_level="error", log_to_driver=False, **options)


def wait_until_ended(run: str) -> None:
    """Wait for the end of an earlier life of a run, killed a moment ago on a cluster that lives on.

    It would go on writing to the run's folder meanwhile. Raises ConfigError if it does not end.
    """
    deadline = time.monotonic() + ENDING_SECONDS
    ours = ray.get_runtime_context().namespace
    while living := [
        one["name"]
        for one in list_named_actors(all_namespaces=True)
        if one["namespace"] == ours and one["name"].startswith(f"{run}/")
    ]:
        if time.monotonic() > deadline:
            raise ConfigError(
                f"run.name is {run}, and a run of that name is alive on this cluster ({', '.join(living)}); "
                "end it, or choose another name"
            )
        time.sleep(0.2)
