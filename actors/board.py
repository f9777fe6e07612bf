"""TensorBoard events of a run. They are a convenience: if they can't be written, the run continues without them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Not torch's SummaryWriter, which writes the same events: torch takes longer to load than the rest of the journal.
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

log = logging.getLogger(__name__)


class Board:
    """Writes each step's metrics to `folder`, in the background. failed: number of steps that could not be written."""

    def __init__(self, folder: Path) -> None:
        self.failed = 0
        self._folder = folder
        self._writer: EventFileWriter | None = None

    def add(self, record: Mapping[str, Any]) -> None:
        """Write a step's metrics."""
        metrics = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in record.items()
            if isinstance(value, int | float) and name != "step"
        ]
        event = Event(wall_time=time.time(), step=record["step"], summary=Summary(value=metrics))
        try:
            self._writer = self._writer or EventFileWriter(str(self._folder))
            self._writer.add_event(event)
        except Exception as error:  # noqa: BLE001 (a full disk, as the writer's thread tells it, in any form)
            self._give_up(error)
            self.failed += 1

    def close(self) -> None:
        """Flush the buffer."""
        try:
            if self._writer is not None:
                self._writer.close()
        except Exception as error:  # noqa: BLE001 (as above)
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        log.warning("TensorBoard events cannot be written to %s: %s", self._folder, error)
        # The next step retries with a new file: TensorBoard reads all files of a folder.
        self._writer = None
