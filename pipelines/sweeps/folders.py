"""A trial's folder, in which a killed sweep leaves a run: whose it is, how far it is, how it goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from bots.config.train import TrainConfig, load_config
from bots.support.files import replace_text
from pipelines.shared.summary import read_metrics
from pipelines.training.saved import committed


def is_of(config: TrainConfig) -> bool:
    """Whether the trial's folder is of this very point.

    Ray Tune may give the name of a lost trial to another one, and a run that took over another is of its new point.
    """
    known = config.run.path / "config.yaml"
    return known.exists() and load_config(known).model_copy(update={"run": config.run}) == config


def has_ended(config: TrainConfig) -> bool:
    """Whether a trial's run is complete, though its sweep was killed before it could note that."""
    summary = config.run.path / "summary.json"
    if not is_of(config) or not summary.exists() or _steps(config.run.path) < config.run.steps:
        return False
    return bool(json.loads(summary.read_text())["status"] == "finished")


def can_resume(config: TrainConfig) -> bool:
    """Whether a run of an earlier life of this sweep left a checkpoint; without one it begins again."""
    path = config.run.path
    if go_back(config):
        return True
    if path.exists():
        shutil.rmtree(path)
    return False


def go_back(config: TrainConfig) -> int:
    """Forget records after the newest checkpoint, as the job will: they would be reported before that.

    Returns the checkpoint's step; 0 where there is none, or the folder is of another point.
    """
    path = config.run.path
    step = kept_step(path) if is_of(config) else 0
    if step:
        kept = [record for record in records_of(path) if record["step"] <= step]
        replace_text(path / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in kept))
    return step


def kept_step(path: Path) -> int:
    """The step of a run's newest checkpoint, 0 without one."""
    return max((saved.step for saved in committed(path)), default=0)


def _steps(path: Path) -> int:
    return int(max((record["step"] for record in records_of(path)), default=0))


def records_of(path: Path) -> list[dict[str, Any]]:
    """A run's records so far; none before its first."""
    return read_metrics(path) if (path / "metrics.jsonl").exists() else []
