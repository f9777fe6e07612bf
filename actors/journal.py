"""The journal: the one writer of a run's metrics, on the driver's machine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

# Not torch's SummaryWriter, which writes the same events: torch takes longer to load than the rest of this actor.
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from actors.trackers import open_trackers
from bots.support.files import replace_text, replacing


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Journal:
    """Writes `metrics.jsonl` (one line a step), rollouts and TensorBoard events, and tells the display.

    folder: the run's folder. trackers: names of `actors.trackers` that get the figures too. config: the run's
    resolved configuration, for them. variables: what of the driver's environment they are set up by; this process
    has that of its node.
    """

    def __init__(
        self,
        folder: str,
        trackers: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        os.environ.update(variables or {})
        self.path = Path(folder) / "metrics.jsonl"
        self.records: list[dict[str, Any]] = _read(self.path)
        # Never that of a journal before this one, whose display may still ask.
        self.edition = time.time_ns()
        self.board = EventFileWriter(str(Path(folder) / "tensorboard"))
        self.trackers = open_trackers(trackers, Path(folder), config or {})

    def rewind(self, step: int) -> None:
        """Forget records after `step`: the run continues from a checkpoint taken there."""
        kept = [record for record in self.records if record["step"] <= step]
        if len(kept) < len(self.records):
            self.records = kept
            self.edition = time.time_ns()
            replace_text(self.path, "".join(json.dumps(record) + "\n" for record in kept))

    def write(self, record: dict[str, Any]) -> None:
        """Add one step's record; it is on disk when this returns. A repeated step is already there."""
        # Ray repeats the call of an actor that died in the midst of it.
        if self.records and record["step"] <= self.records[-1]["step"]:
            return
        if self.trackers.failed:
            record = record | {"trackers_failed": self.trackers.failed}
        self.records.append(record)
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        figures = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in record.items()
            if isinstance(value, int | float) and name != "step"
        ]
        self.board.add_event(
            Event(wall_time=time.time(), step=record["step"], summary=Summary(value=figures))
        )
        self.trackers.log(record)

    def keep(self, step: int, rollouts: pa.Table, where: str = "rollouts") -> None:
        """Write a step's answers to `WHERE/STEP.parquet` in the run's folder; a repeated step replaces its file."""
        folder = self.path.parent / where
        folder.mkdir(exist_ok=True)
        with replacing(folder / f"{step:06d}.parquet") as partial:
            pq.write_table(rollouts, partial)

    def since(self, count: int) -> list[dict[str, Any]]:
        """The records after the first `count`."""
        return self.records[count:]

    def news(self, edition: int, count: int) -> tuple[int, int, list[dict[str, Any]]]:
        """What a reader lacks that has `count` records of an edition: the present edition, and from which record on.

        The edition is another one after a rewind or a restart; the reader then gets all records, from 0.
        """
        start = count if edition == self.edition else 0
        return self.edition, start, self.records[start:]

    def close(self) -> None:
        """Write out what is buffered."""
        self.board.close()
        self.trackers.close()


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    # A killed writer can leave half a line at the end; it was never acknowledged, and the next would join it.
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return [json.loads(line) for line in path.read_text().splitlines()]
