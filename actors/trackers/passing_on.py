"""All trackers of a run behind one call.

None of them may end a run: what they fail at, opening included, is counted, said once in the actor's log, and kept in
the journal all the same.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

log = logging.getLogger(__name__)


REOPEN_SECONDS = 60.0
"""How long a tracker that could not be opened is left alone: a server that is away may keep the run waiting."""


class Tracker(Protocol):
    """One place that figures go to."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Take one step's finite numbers; a step can come again after a resume."""
        ...

    def close(self) -> None:
        """Hand over what is buffered."""
        ...


class Trackers:
    """All trackers of a run behind one call, with the ones that fail counted.

    openers: what makes further trackers, by name; one that raises is asked again at a later `log`. failed: calls that
    raised.
    """

    def __init__(
        self, trackers: Sequence[Tracker], openers: Mapping[str, Callable[[], Tracker]] | None = None
    ) -> None:
        self._trackers = list(trackers)
        self._openers = dict(openers or {})
        self.failed = 0
        self._open()

    def log(self, record: Mapping[str, Any]) -> None:
        """Pass on a record's numbers; lists, texts and numbers that are not finite stay in the journal alone."""
        figures = {
            name: float(value)
            for name, value in record.items()
            if isinstance(value, int | float) and name != "step" and math.isfinite(value)
        }
        if self._openers and time.monotonic() - self._tried >= REOPEN_SECONDS:
            self._open()
        for tracker in self._trackers:
            try:
                tracker.log(record["step"], figures)
            except Exception as error:  # noqa: BLE001 (a tracking server that is away must not end the run)
                self._count(type(tracker).__name__, error)

    def close(self) -> None:
        """Close all."""
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
            log.warning("%s does not take the run's figures: %s", name, error)
        self.failed += 1
