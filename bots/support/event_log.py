"""Append-only JSON lines that survive kills, full disks and damaged bytes: logs, ledgers and metrics."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bots.support.files import named, replace_text

Event = dict[str, Any]


class EventLogError(ValueError):
    """A damaged line that whole lines follow: what it said is lost. Names the file and the line."""


class EventLog:
    """JSON objects, one a line, in one file. An event is with the operating system before it is acted upon.

    A damaged tail (half a line, bytes that are not UTF-8, zeros) was never acknowledged, or its sectors are gone:
    reading leaves it out, and the next writer cuts it off. One process writes; any may read at the same time.

    path: the file; its folder exists.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._whole = False

    def append(self, event: Mapping[str, Any], *, sync: bool = False) -> None:
        """Add one event: all of it or, where this raises OSError, none.

        sync: flush to the disk too, so that it outlives the machine as well as this process.
        """
        with named(self.path):
            if not self._whole:
                self._cut_tail()
            self._whole = False
            line = (json.dumps(event) + "\n").encode()
            before = self.path.stat().st_size if self.path.exists() else 0
            try:
                with self.path.open("ab") as file:
                    file.write(line)
                    file.flush()
                    if sync:
                        os.fsync(file.fileno())
            except OSError:
                # Readers of a full disk should not meet half a line. The next writer cuts it if this can't.
                with suppress(OSError):
                    os.truncate(self.path, before)
                raise
        self._whole = True

    def replay(self) -> Iterator[Event]:
        """The whole events in order. Raises EventLogError for a damaged line that a whole one follows."""
        damaged: int | None = None
        for number, event in self._lines():
            if event is None:
                damaged = damaged or number
            elif damaged:
                raise EventLogError(
                    f"line {damaged} of {self.path} is damaged, and whole lines follow it: what it said is lost"
                )
            else:
                yield event

    def salvage(self) -> tuple[list[Event], list[int]]:
        """All whole events, and the numbers (from 1) of the damaged lines between and after them."""
        events, damaged = [], []
        for number, event in self._lines():
            if event is None:
                damaged.append(number)
            else:
                events.append(event)
        return events, damaged

    def mend(self) -> list[int]:
        """Leave only the whole events in the file; returns the numbers of the damaged lines.

        A file that lost more than the half line of a killed writer is kept beside it as `NAME.damaged`.
        """
        events, damaged = self.salvage()
        if damaged:
            with named(self.path):
                shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.damaged"))
            self.rewrite(events)
        else:
            self._cut_tail()
        return damaged

    def rewrite(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Replace the whole file."""
        replace_text(self.path, "".join(json.dumps(event) + "\n" for event in events))

    def clear(self) -> None:
        """Forget all events: a snapshot holds them now."""
        self.rewrite([])

    def sync(self) -> None:
        """Flush what was appended to the disk."""
        if self.path.exists():
            with named(self.path), self.path.open("rb") as file:
                os.fsync(file.fileno())

    def _lines(self) -> Iterator[tuple[int, Event | None]]:
        """Number and event of every line that ends; None where it is damaged."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield number, _event(line)

    def _cut_tail(self) -> None:
        """Cut off damaged lines, and half a one, at the end."""
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        end = data.rfind(b"\n") + 1
        while end and _event(data[(start := data.rfind(b"\n", 0, end - 1) + 1) : end]) is None:
            end = start
        if end < len(data):
            os.truncate(self.path, end)


def _event(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
