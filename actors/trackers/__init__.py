"""Where metrics go besides the run's folder: Prometheus (through Ray's dashboard), Weights & Biases, MLflow."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.trackers.gauges import RayGauges
from actors.trackers.mlflow_run import MLflow
from actors.trackers.passing_on import ExternalTracker, Tracker, Trackers
from actors.trackers.wandb_run import WeightsAndBiases

KINDS: dict[str, type[ExternalTracker]] = {"wandb": WeightsAndBiases, "mlflow": MLflow}
"""Names for `run.trackers`; each is also the name of the package it needs."""


def require(names: Sequence[str]) -> None:
    """Raise ValueError for a tracker that is unknown, not installed, not signed in to, or unreachable."""
    for name in names:
        if name not in KINDS:
            raise ValueError(f"run.trackers names {name!r}; it can hold {', '.join(KINDS)}")
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"run.trackers names {name!r}, but the package {name} is not installed: "
                "pip install 'bots-rft[trackers]'"
            )
        KINDS[name].check()


def open_trackers(names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> Trackers:
    """Ray's gauges and the named trackers. config: the run's resolved configuration, stored with the run.

    Does not raise for a tracker that cannot be opened now; `require` refuses those before a run starts.
    """
    name = str(config.get("run", {}).get("name", folder.name))

    def opener(kind: str) -> Callable[[], Tracker]:
        def opened() -> Tracker:
            # The client itself would retry a missing server for minutes, or prompt for a key.
            require([kind])
            return KINDS[kind](name, folder, config)

        return opened

    return Trackers([RayGauges(name)], {kind: opener(kind) for kind in names})


def tracker_variables() -> dict[str, str]:
    """This process's environment variables for the trackers: addresses, projects, keys."""
    return {name: value for name, value in os.environ.items() if name.startswith(("WANDB_", "MLFLOW_"))}
