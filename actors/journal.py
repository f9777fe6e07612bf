"""The journal: the only writer of a run's metrics, on the driver's machine."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from actors.board import Board
from actors.trackers import open_trackers
from bots.support.event_log import EventLog
from bots.support.files import replacing


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Journal:
    """Writes `metrics.jsonl` (one line per step), rollouts and TensorBoard events, and feeds the display.

    - folder: the run's folder.
    - trackers: names of `actors.trackers` that receive the metrics too.
    - config: the run's resolved configuration, for the trackers.
    - variables: the driver's environment variables for the trackers; this process has its node's environment.
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
        self.log = EventLog(self.path)
        # A damaged line must not keep a run from resuming: the checkpoint holds everything it needs.
        self.log.mend()
        self.records: list[dict[str, Any]] = list(self.log.replay())
        # Must differ from an earlier journal's edition, whose display may still ask.
        self.edition = time.time_ns()
        self.board = Board(Path(folder) / "tensorboard")
        self.trackers = open_trackers(trackers, Path(folder), config or {})

    def rewind(self, step: int) -> None:
        """Drop the records after `step`: the run continues from that step's checkpoint."""
        kept = [record for record in self.records if record["step"] <= step]
        if len(kept) < len(self.records):
            self.log.rewrite(kept)
            self.records = kept
            self.edition = time.time_ns()

    def write(self, record: dict[str, Any]) -> None:
        """Add one step's record; it is on disk when this returns. Repeating a step changes nothing."""
        # Ray repeats a call if the actor died while running it.
        if self.records and record["step"] <= self.records[-1]["step"]:
            return
        if self.trackers.failed:
            record = record | {"trackers_failed": self.trackers.failed}
        if self.board.failed:
            record = record | {"tensorboard_failed": self.board.failed}
        # To disk first: a record that only this process has would be lost with it and never written again.
        self.log.append(record, sync=True)
        self.records.append(record)
        self.board.add(record)
        self.trackers.log(record)

    def keep(self, step: int, rollouts: pa.Table, where: str = "rollouts") -> None:
        """Write a step's completions to `WHERE/STEP.parquet` in the run's folder; a repeated step replaces its file."""
        folder = self.path.parent / where
        folder.mkdir(exist_ok=True)
        with replacing(folder / f"{step:06d}.parquet") as partial:
            pq.write_table(rollouts, partial)

    def since(self, count: int) -> list[dict[str, Any]]:
        """The records after the first `count`."""
        return self.records[count:]

    def news(self, edition: int, count: int) -> tuple[int, int, list[dict[str, Any]]]:
        """What a reader with `count` records of an edition lacks: the current edition, start index, and records.

        The edition changes at a rewind or restart; the reader then gets all records, from 0.
        """
        start = count if edition == self.edition else 0
        return self.edition, start, self.records[start:]

    def close(self) -> None:
        """Flush the buffers."""
        self.board.close()
        self.trackers.close()
