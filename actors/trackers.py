"""Where a run's figures go besides its folder: Prometheus by Ray's dashboard, Weights & Biases, MLflow.

None of them may end a run: what they fail at is counted, said once in the actor's log, and kept in the journal all
the same.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import netrc
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from bots.files import replace_text

log = logging.getLogger(__name__)
PACKAGES = {"wandb": "wandb", "mlflow": "mlflow"}
"""Names of `run.trackers` and the packages that they need."""
ANSWER_S = 10
"""Seconds that a tracking server has to answer before the run starts."""
IDS = "trackers.json"
"""File in the run's folder with the ids under which trackers know the run: a resumed run goes on under them."""
TAGGED = (
    ("score/", "score", "domain"),
    ("posterior/evidence/capability/", "posterior_evidence_capability", "domain"),
    ("seconds/", "phase_seconds", "phase"),
)
"""Prefix of a figure, its gauge, and the tag that its rest becomes."""


class Tracker(Protocol):
    """One place that figures go to."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Take one step's finite numbers; a step can come again after a resume."""
        ...

    def close(self) -> None:
        """Hand over what is buffered."""
        ...


class Trackers:
    """All trackers of a run behind one call, with the ones that fail counted.

    failed: calls that raised.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = list(trackers)
        self.failed = 0

    def log(self, record: Mapping[str, Any]) -> None:
        """Pass on a record's numbers; lists, texts and numbers that are not finite stay in the journal alone."""
        figures = {
            name: float(value)
            for name, value in record.items()
            if isinstance(value, int | float) and name != "step" and math.isfinite(value)
        }
        for tracker in self._trackers:
            try:
                tracker.log(record["step"], figures)
            except Exception as error:  # noqa: BLE001 (a tracking server that is away must not end the run)
                self._count(tracker, error)

    def close(self) -> None:
        """Close all."""
        for tracker in self._trackers:
            try:
                tracker.close()
            except Exception as error:  # noqa: BLE001 (as above)
                self._count(tracker, error)

    def _count(self, tracker: Tracker, error: Exception) -> None:
        if self.failed == 0:
            log.warning("%s does not take the run's figures: %s", type(tracker).__name__, error)
        self.failed += 1


def require(names: Sequence[str]) -> None:
    """Raise ValueError for a tracker that is unknown, not installed, not signed in to, or that does not answer."""
    for name in names:
        if name not in PACKAGES:
            raise ValueError(f"run.trackers names {name!r}; it can hold {', '.join(PACKAGES)}")
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise ValueError(
                f"run.trackers names {name!r}, but the package {PACKAGES[name]} is not installed: "
                "pip install 'bots-rft[trackers]'"
            )
        {"wandb": _require_key, "mlflow": _require_server}[name]()


def _require_key() -> None:
    """Weights & Biases would ask for its key at a prompt, which an actor does not have."""
    if os.environ.get("WANDB_MODE", "online") in ("offline", "disabled", "dryrun"):
        return
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    known = None
    with contextlib.suppress(FileNotFoundError, netrc.NetrcParseError):
        known = netrc.netrc().authenticators(str(host))
    if not (os.environ.get("WANDB_API_KEY") or known):
        raise ValueError(
            f"run.trackers names 'wandb', but there is no key for {host}: run `wandb login`, set WANDB_API_KEY, "
            "or set WANDB_MODE=offline"
        )


def _require_server() -> None:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urlopen(f"{uri.rstrip('/')}/health", timeout=ANSWER_S):
            pass
    except HTTPError:
        # It answers. Whether it lets us in is seen when the run is opened.
        return
    except (OSError, HTTPException) as error:
        raise ValueError(
            f"run.trackers names 'mlflow', but MLFLOW_TRACKING_URI={uri} does not answer ({error}): start the "
            "server, correct the address, or take mlflow out of run.trackers"
        ) from error


def open_trackers(names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> Trackers:
    """Ray's gauges, and the named trackers. config: the run's resolved configuration, stored with the run."""
    require(names)
    kinds = {"wandb": WeightsAndBiases, "mlflow": MLflow}
    name = str(config.get("run", {}).get("name", folder.name))
    return Trackers([RayGauges(name), *(kinds[kind](name, folder, config) for kind in names)])


class RayGauges:
    """Gauges `bots_…` with the tag `run`, scraped by Prometheus from each node's metrics port (`ray_bots_…`).

    Scores, capabilities and phases have one gauge each, with the domain or the phase as a tag.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._gauges: dict[str, Any] = {}

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Set the gauges."""
        for name, value in {**figures, "step": float(step)}.items():
            gauge, tags = gauge_of(name)
            self._gauge(gauge, tuple(tags)).set(value, {"run": self._run, **tags})

    def close(self) -> None:
        """Nothing is buffered."""

    def _gauge(self, name: str, tags: tuple[str, ...]) -> Any:
        from ray.util.metrics import Gauge

        # One gauge of a name has one set of tags, so `score` of all tasks bears an empty domain.
        if name not in self._gauges:
            keys = ("run", *tags)
            self._gauges[name] = Gauge(name, description=f"BOTS: {name.removeprefix('bots_')}", tag_keys=keys)
        return self._gauges[name]


def gauge_of(figure: str) -> tuple[str, dict[str, str]]:
    """The gauge of a figure, and its tags besides the run."""
    for prefix, name, tag in TAGGED:
        if figure == prefix.rstrip("/") and tag == "domain":
            return f"bots_{name}", {tag: ""}
        if figure.startswith(prefix):
            return f"bots_{name}", {tag: figure.removeprefix(prefix)}
    return "bots_" + re.sub(r"[^a-zA-Z0-9_]", "_", figure), {}


class WeightsAndBiases:
    """A run of Weights & Biases, set up by its own environment (WANDB_PROJECT, WANDB_MODE, WANDB_API_KEY …)."""

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "bots"),
            name=name,
            id=_id(folder, "wandb", lambda: secrets.token_hex(4)),
            dir=str(folder),
            config=dict(config),
            resume="allow",
            settings=wandb.Settings(console="off", silent=True),
        )
        # Steps of its own only ever grow; after a resume ours come again.
        self._run.define_metric("training_step")
        self._run.define_metric("*", step_metric="training_step")

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Hand over one step's figures; sending is done by another process."""
        self._run.log({**figures, "training_step": step})

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class MLflow:
    """A run of MLflow, at MLFLOW_TRACKING_URI (else an SQLite file beside the run's folder)."""

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        import mlflow

        beside = folder.parent.absolute()
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{beside / 'mlflow.db'}"
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._run = _id(folder, "mlflow", lambda: self._new_run(name, config))

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

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Send one step's figures."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_mlflow_name(name), value, now, step) for name, value in figures.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self._run)


def _id(folder: Path, tracker: str, make: Any) -> str:
    """The run's id at a tracker, made once and kept in its folder."""
    path, known = folder / IDS, {}
    with contextlib.suppress(FileNotFoundError):
        known = json.loads(path.read_text())
    if tracker not in known:
        known[tracker] = make()
        replace_text(path, json.dumps(known))
    return str(known[tracker])


def _mlflow_name(name: str) -> str:
    return re.sub(r"[^\w\-. /:]", "_", name)


def _flat(tree: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(tree, Mapping) and tree:
        return [
            pair for key, value in tree.items() for pair in _flat(value, f"{path}.{key}" if path else key)
        ]
    return [(path, str(tree))]
