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

from bots.config_tree import ConfigError

NAMESPACE = "bots"
ENDING_SECONDS = 60.0
"""How long an earlier life of a job may take to end, once it has been told to or was killed."""


def embedded() -> bool:
    """Whether a job that starts now makes a Ray of its own, in here, rather than join a cluster."""
    return "RAY_ADDRESS" not in os.environ


@contextmanager
def ray_session(dashboard: bool = False) -> Iterator[None]:
    """The cluster at hand (RAY_ADDRESS, `ray job submit`), else a Ray in here; one that runs already is left alone.

    dashboard: whether a Ray in here has one. A cluster has its own.
    """
    if ray.is_initialized():
        yield
        return
    # Else Ray would join whatever `ray start` has left on this machine.
    options: dict[str, Any] = {"address": "local", "include_dashboard": dashboard} if embedded() else {}
    on_request_to_end = signal.getsignal(signal.SIGTERM)
    ray.init(namespace=NAMESPACE, logging_level="error", log_to_driver=False, **options)
    if threading.current_thread() is threading.main_thread():
        # Ray puts a handler of its own in place, under which the job could not clean up.
        signal.signal(signal.SIGTERM, on_request_to_end)
    try:
        yield
    finally:
        ray.shutdown()


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
