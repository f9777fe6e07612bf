"""An append-only log of what happened to the beliefs since the last snapshot, to replay after a crash."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bots.support.files import replace_text


class EventLog:
    """JSON lines in one file; an event is on disk before it is acted upon.

    Half a line at the end, left by a writer that was killed or whose disk was full, was never acknowledged: reading
    leaves it out, and the next writer cuts it off. One process writes; any may read at the same time.

    path: the file; its folder exists.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._whole = False

    def append(self, event: dict[str, Any]) -> None:
        """Add one event and hand it to the operating system: a killed process does not lose it."""
        if not self._whole and self.path.exists():
            os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)
        self._whole = False
        with self.path.open("a") as file:
            file.write(json.dumps(event) + "\n")
        self._whole = True

    def replay(self) -> Iterator[dict[str, Any]]:
        """The whole events in order."""
        if self.path.exists():
            with self.path.open() as file:
                for line in file:
                    if line.endswith("\n"):
                        yield json.loads(line)

    def clear(self) -> None:
        """Forget all events: a snapshot holds them now."""
        replace_text(self.path, "")
