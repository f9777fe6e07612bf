"""The run's metrics in MLflow."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from actors.trackers.ids import id_of

ANSWER_S = 10
"""Seconds within which a tracking server must respond before the run starts."""


class MLflow:
    """An MLflow run at MLFLOW_TRACKING_URI (default: an SQLite file beside the run's folder)."""

    @staticmethod
    def check() -> None:
        """Raise ValueError if the server at MLFLOW_TRACKING_URI does not respond."""
        uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not uri.startswith(("http://", "https://")):
            return
        try:
            with urlopen(f"{uri.rstrip('/')}/health", timeout=ANSWER_S):
                pass
        except HTTPError:
            # It responds. Whether it accepts the run shows when the run is opened.
            return
        except (OSError, HTTPException) as error:
            raise ValueError(
                f"run.trackers names 'mlflow', but MLFLOW_TRACKING_URI={uri} does not answer ({error}): start the "
                "server, correct the address, or take mlflow out of run.trackers"
            ) from error

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        import mlflow

        beside = folder.parent.absolute()
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{beside / 'mlflow.db'}"
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._run = id_of(folder, "mlflow", lambda: self._new_run(name, config))

    def _new_run(self, name: str, config: Mapping[str, Any]) -> str:
        from mlflow.entities import Param

        title = os.environ.get("MLFLOW_EXPERIMENT_NAME", "bots")
        experiment = self._client.get_experiment_by_name(title)
        number = experiment.experiment_id if experiment else self._client.create_experiment(title)
        run: str = self._client.create_run(number, run_name=name).info.run_id
        parameters = [Param(_mlflow_name(key), value[:6000]) for key, value in _flat(config)]
        for start in range(0, len(parameters), 100):
            self._client.log_batch(run, params=parameters[start : start + 100])
        return run

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send one step's metrics."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entries = [Metric(_mlflow_name(name), value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self._run, metrics=entries)

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self._run)


def _mlflow_name(name: str) -> str:
    return re.sub(r"[^\w\-. /:]", "_", name)


def _flat(tree: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(tree, Mapping) and tree:
        return [
            pair for key, value in tree.items() for pair in _flat(value, f"{path}.{key}" if path else key)
        ]
    return [(path, str(tree))]
