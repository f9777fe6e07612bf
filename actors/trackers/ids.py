"""A run's id at a tracker. A resumed run keeps it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from bots.support.files import replace_text

IDS = "trackers.json"
"""File in the run's folder."""


def id_of(folder: Path, tracker: str, make: Callable[[], str]) -> str:
    """The run's id at a tracker, created once and stored in the run's folder."""
    path, known = folder / IDS, {}
    with contextlib.suppress(FileNotFoundError):
        known = json.loads(path.read_text())
    if tracker not in known:
        known[tracker] = make()
        replace_text(path, json.dumps(known))
    return str(known[tracker])
