"""A run's id at a tracker, which a resumed run keeps."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from bots.support.files import replace_text

IDS = "trackers.json"
"""File in the run's folder."""


def id_of(folder: Path, tracker: str, make: Callable[[], str]) -> str:
    """The run's id at a tracker, created once and stored in its folder."""
    path, known = folder / IDS, {}
    with contextlib.suppress(FileNotFoundError):
        known = json.loads(path.read_text())
    if tracker not in known:
        known[tracker] = make()
        replace_text(path, json.dumps(known))
    return str(known[tracker])
