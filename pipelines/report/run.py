"""A run's folder on disk: finished, still growing, or interrupted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from bots.support.natural_order import natural
from pipelines.shared.job_folder import CONFIG, METRICS

Floats = npt.NDArray[np.float64]
State = Literal["finished", "ended early", "still going"]
OUTSIDE_TRAINING = ("seconds/evaluate", "seconds/checkpoint")
"""Phases that are not part of the method's cost (as in `pipelines.report.comparison`)."""


class ReportError(ValueError):
    """A run that cannot be reported; the message names the folder and the fix."""


@dataclass(frozen=True)
class Run:
    """One run.

    label: its name, or its path if several runs have that name. config: the resolved configuration as a tree. records:
    the journal's lines, one per step; step 0 has the initial score. summary: the run's summary, None until it ends.
    quiet_seconds: seconds since the last line was written.
    """

    label: str
    folder: Path
    config: dict[str, Any]
    records: list[dict[str, Any]]
    summary: dict[str, Any] | None
    quiet_seconds: float

    @property
    def name(self) -> str:
        """`run.name`."""
        return str(self.config["run"]["name"])

    @property
    def seed(self) -> int:
        """`run.seed`."""
        return int(self.config["run"].get("seed", 0))

    @property
    def planned_steps(self) -> int:
        """`run.steps`."""
        return int(self.config["run"]["steps"])

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        """The training steps' records."""
        return [record for record in self.records if record["step"] > 0]

    @property
    def last_step(self) -> int:
        """The newest step; 0 before the first."""
        return int(self.steps[-1]["step"]) if self.steps else 0

    @property
    def state(self) -> State:
        """Whether it reached its last step, ended early, or may still be running.

        A run writes its summary when it finishes, fails or is interrupted, but not when it is killed.
        """
        if self.last_step >= self.planned_steps:
            return "finished"
        if self.summary is not None and self.summary.get("steps") == len(self.steps):
            return "ended early"
        return "still going"

    def series(self, key: str) -> tuple[Floats, Floats]:
        """Steps and values of the records with a number under `key`."""
        pairs = [(r["step"], r[key]) for r in self.records if isinstance(r.get(key), int | float)]
        table = np.array(pairs, np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def keys(self, prefix: str) -> list[str]:
        """Names of the metrics that start with `prefix`, in natural order."""
        return sorted(
            {key for record in self.records for key in record if key.startswith(prefix)}, key=natural
        )

    @cached_property
    def spent(self) -> dict[str, Floats]:
        """Cumulative steps, generated tokens and training seconds after each training step, starting with 0.

        Seconds exclude evaluation and checkpoints.
        """
        seconds = [r["seconds"] - sum(r.get(phase, 0.0) for phase in OUTSIDE_TRAINING) for r in self.steps]
        return {
            "steps": np.array([0.0, *(r["step"] for r in self.steps)]),
            "tokens": np.cumsum([0.0, *(r["tokens"] for r in self.steps)]),
            "seconds": np.cumsum([0.0, *seconds]),
        }


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of reading a run's file into a ReportError that names it."""
    try:
        yield
    except (OSError, UnicodeDecodeError, yaml.YAMLError, pa.ArrowException) as error:
        raise ReportError(f"{path} cannot be read, or is damaged: {error}") from error


def read_run(folder: Path) -> Run:
    """Read a run's folder. Raises ReportError if it is not one or a file cannot be read."""
    with reading(folder):
        if not folder.exists():
            raise ReportError(f"there is no run at {folder}")
        if not (folder / CONFIG).is_file():
            inside = sorted(str(path.parent) for path in folder.glob("*/config.yaml"))
            hint = f"; it contains runs: {' '.join(inside)}" if inside else ""
            raise ReportError(f"{folder} is not a run's folder: it has no config.yaml{hint}")
    config = _config(folder / CONFIG)
    metrics = folder / METRICS
    written = metrics if metrics.exists() else folder / CONFIG
    return Run(
        label=str(config["run"]["name"]),
        folder=folder,
        config=config,
        records=_records(metrics),
        summary=_summary(folder / "summary.json"),
        quiet_seconds=max(0.0, time.time() - written.stat().st_mtime),
    )


def _config(path: Path) -> dict[str, Any]:
    with reading(path):
        config = yaml.safe_load(path.read_bytes())
    known = config if isinstance(config, dict) else {}
    run = known.get("run")
    if not isinstance(run, dict) or "name" not in run or not isinstance(run.get("steps"), int):
        raise ReportError(
            f"{path} is not a train job's configuration: it has no run.name or no number run.steps"
        )
    if empty := [name for name, section in known.items() if not isinstance(section, dict)]:
        raise ReportError(
            f"{path} is not a train job's configuration: {empty[0]} is {known[empty[0]]!r}, not a section"
        )
    return known


def _records(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    records = []
    with reading(path):
        text = path.read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break  # incomplete: the run is writing it, or was killed while writing
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ReportError(f"line {number} of {path} is not JSON: {error}") from error
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise ReportError(f"line {number} of {path} is not the record of a step: {line[:80]!r}")
        records.append(record)
    return records


def _summary(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    with reading(path):
        text = path.read_text(encoding="utf-8")
    try:
        summary = json.loads(text)
    except json.JSONDecodeError as error:
        raise ReportError(f"{path} is not JSON: {error}") from error
    if not isinstance(summary, dict):
        raise ReportError(f"{path} is not a run's summary: {text[:80]!r}")
    return summary
