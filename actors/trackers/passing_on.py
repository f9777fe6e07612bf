"""All trackers of a run behind one call.

None of them may end a run: what they fail at is counted, said once in the actor's log, and kept in the journal all
the same.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

log = logging.getLogger(__name__)


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

    failed: calls that raised.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = list(trackers)
        self.failed = 0

    def log(self, record: Mapping[str, Any]) -> None:
        """Pass on a record's numbers; lists, texts and numbers that are not finite stay in the journal alone."""
        figures = {
            name: float(value)
            for name, value in record.items()
            if isinstance(value, int | float) and name != "step" and math.isfinite(value)
        }
        for tracker in self._trackers:
            try:
                tracker.log(record["step"], figures)
            except Exception as error:  # noqa: BLE001 (a tracking server that is away must not end the run)
                self._count(tracker, error)

    def close(self) -> None:
        """Close all."""
        for tracker in self._trackers:
            try:
                tracker.close()
            except Exception as error:  # noqa: BLE001 (as above)
                self._count(tracker, error)

    def _count(self, tracker: Tracker, error: Exception) -> None:
        if self.failed == 0:
            log.warning("%s does not take the run's figures: %s", type(tracker).__name__, error)
        self.failed += 1
