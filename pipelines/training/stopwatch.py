"""A stopwatch with named phases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds by phase since it was made: `with watch("learn"): …`."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._phases: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count the time of a block towards a phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._phases[phase] = self._phases.get(phase, 0.0) + time.perf_counter() - started

    def move(self, phase: str, to: str, seconds: float) -> None:
        """Count some of a phase's time towards another one."""
        self._phases[phase] -= seconds
        self._phases[to] = self._phases.get(to, 0.0) + seconds

    def record(self) -> dict[str, float]:
        """`seconds/PHASE` of each phase, and `seconds`, the whole time so far."""
        phases = {f"seconds/{phase}": seconds for phase, seconds in self._phases.items()}
        return phases | {"seconds": time.perf_counter() - self._started}
