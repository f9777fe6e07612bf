"""All trackers of a run behind one call.

No tracker may end a run. Their failures are counted and logged once; the journal keeps all metrics anyway.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger(__name__)


REOPEN_SECONDS = 60.0
"""Seconds before retrying a tracker that failed to open: each attempt may block the run."""


class Tracker(Protocol):
    """One destination of metrics."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log one step's finite numbers; a step can repeat after a resume."""
        ...

    def close(self) -> None:
        """Flush the buffer."""
        ...


class ExternalTracker(Tracker, Protocol):
    """A tracker from another package, created for one run."""

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any]) -> None: ...

    @staticmethod
    def check() -> None:
        """Raise ValueError if it can't be opened now: no key, or no server."""
        ...


class Trackers:
    """All trackers of a run behind one call; failures are counted.

    openers: factories of further trackers, by name; one that raises is retried at a later `log`. failed: number of
    calls that raised.
    """

    def __init__(
        self, trackers: Sequence[Tracker], openers: Mapping[str, Callable[[], Tracker]] | None = None
    ) -> None:
        self._trackers = list(trackers)
        self._openers = dict(openers or {})
        self.failed = 0
        self._open()

    def log(self, record: Mapping[str, Any]) -> None:
        """Forward a record's finite numbers; everything else is in the journal only."""
        metrics = {
            name: float(value)
            for name, value in record.items()
            if isinstance(value, int | float) and name != "step" and math.isfinite(value)
        }
        if self._openers and time.monotonic() - self._tried >= REOPEN_SECONDS:
            self._open()
        for tracker in self._trackers:
            try:
                tracker.log(record["step"], metrics)
            except Exception as error:  # noqa: BLE001 (an unreachable tracking server must not end the run)
                self._count(type(tracker).__name__, error)

    def close(self) -> None:
        """Close all trackers."""
        for tracker in self._trackers:
            try:
                tracker.close()
            except Exception as error:  # noqa: BLE001 (as above)
                self._count(type(tracker).__name__, error)

    def _open(self) -> None:
        for name, opener in list(self._openers.items()):
            try:
                self._trackers.append(opener())
                del self._openers[name]
            except Exception as error:  # noqa: BLE001 (as above)
                self._count(name, error)
        self._tried = time.monotonic()

    def _count(self, name: str, error: Exception) -> None:
        if self.failed == 0:
            log.warning("%s does not accept the run's metrics: %s", name, error)
        self.failed += 1
