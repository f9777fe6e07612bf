"""Where a run's figures go besides its folder: Prometheus by Ray's dashboard, Weights & Biases, MLflow."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.trackers.gauges import RayGauges
from actors.trackers.mlflow_run import MLflow
from actors.trackers.passing_on import Trackers
from actors.trackers.wandb_run import WeightsAndBiases

KINDS = {"wandb": WeightsAndBiases, "mlflow": MLflow}
"""Names of `run.trackers`, which are the packages that they need."""


def require(names: Sequence[str]) -> None:
    """Raise ValueError for a tracker that is unknown, not installed, not signed in to, or that does not answer."""
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
    """Ray's gauges, and the named trackers. config: the run's resolved configuration, stored with the run."""
    require(names)
    name = str(config.get("run", {}).get("name", folder.name))
    return Trackers([RayGauges(name), *(KINDS[kind](name, folder, config) for kind in names)])
