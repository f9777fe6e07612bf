"""A trial's folder after a sweep was killed: which trial it belongs to, how far it is, whether it can resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from bots.config.train import TrainConfig, load_config
from bots.support.files import replace_text
from pipelines.shared.job_folder import CONFIG, METRICS, POOL, read_pool
from pipelines.shared.summary import read_metrics
from pipelines.training.saved import committed


def is_of(config: TrainConfig) -> bool:
    """Whether the trial's folder belongs to this point of the space.

    Ray Tune may reuse the name of a lost trial, and a run that copied another one belongs to its new point.
    """
    known, pool = config.run.path / CONFIG, config.run.path / POOL
    if not known.exists():
        return False
    own = load_config(known).model_copy(update={"run": config.run})
    if own == config:
        return True
    # A run writes down what `auto` stands for.
    return config.selection.depends_on_pool and pool.exists() and own == config.on(read_pool(config.run.path))


def has_ended(config: TrainConfig) -> bool:
    """Whether a trial's run is complete even though its sweep was killed before recording that."""
    summary = config.run.path / "summary.json"
    if not is_of(config) or not summary.exists() or _steps(config.run.path) < config.run.steps:
        return False
    try:
        return bool(json.loads(summary.read_bytes())["status"] == "finished")
    except (ValueError, LookupError, TypeError):
        return False  # damaged: the run goes on from its last checkpoint and writes it again


def can_resume(config: TrainConfig) -> bool:
    """Whether the run has a checkpoint from before the sweep was killed; otherwise its folder is deleted."""
    path = config.run.path
    if go_back(config):
        return True
    if path.exists():
        shutil.rmtree(path)
    return False


def go_back(config: TrainConfig) -> int:
    """Drop records after the newest checkpoint, before they are reported; the job itself drops them only later.

    Returns the checkpoint's step; 0 if there is none or the folder belongs to another point.
    """
    path = config.run.path
    step = kept_step(path) if is_of(config) else 0
    if step:
        kept = [record for record in records_of(path) if record["step"] <= step]
        replace_text(path / METRICS, "".join(json.dumps(record) + "\n" for record in kept))
    return step


def kept_step(path: Path) -> int:
    """The step of a run's newest checkpoint; 0 if it has none."""
    return max((saved.step for saved in committed(path)), default=0)


def _steps(path: Path) -> int:
    return int(max((record["step"] for record in records_of(path)), default=0))


def records_of(path: Path) -> list[dict[str, Any]]:
    """A run's records so far."""
    return read_metrics(path) if (path / METRICS).exists() else []
