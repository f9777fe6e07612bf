"""The journal: the one writer of a run's metrics, on the driver's machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ray
from torch.utils.tensorboard import SummaryWriter


@ray.remote(num_cpus=0)
class Journal:
    """Writes `metrics.jsonl` (one line a step) and TensorBoard events, and keeps the tail for the display.

    folder: the run's folder.
    """

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "metrics.jsonl"
        self.records: list[dict[str, Any]] = _read(self.path)
        self.board = SummaryWriter(str(Path(folder) / "tensorboard"))
        self.phase = "starting"

    def rewind(self, step: int) -> None:
        """Forget records after `step`: the run continues from a checkpoint taken there."""
        kept = [record for record in self.records if record["step"] <= step]
        if len(kept) < len(self.records):
            self.records = kept
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))
            os.replace(temporary, self.path)

    def write(self, record: dict[str, Any]) -> None:
        """Add one step's record; it is on disk when this returns."""
        self.records.append(record)
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        for name, value in record.items():
            if isinstance(value, int | float) and name != "step":
                self.board.add_scalar(name, value, record["step"])

    def enter(self, phase: str) -> None:
        """Say what the run is doing now."""
        self.phase = phase

    def since(self, count: int) -> tuple[str, list[dict[str, Any]]]:
        """The present phase and the records after the first `count`."""
        return self.phase, self.records[count:]

    def close(self) -> None:
        """Write out what is buffered."""
        self.board.close()


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    # A killed writer can leave half a line at the end; it was never acknowledged.
    return [json.loads(line) for line in lines if line.endswith("\n")]
