"""A stopwatch with named phases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds per phase since its creation: `with watch("learn"): …`."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._phases: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the block's time to a phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._phases[phase] = self._phases.get(phase, 0.0) + time.perf_counter() - started

    def move(self, phase: str, to: str, seconds: float) -> None:
        """Move seconds from one phase to another."""
        self._phases[phase] -= seconds
        self._phases[to] = self._phases.get(to, 0.0) + seconds

    def record(self) -> dict[str, float]:
        """`seconds/PHASE` for each phase, and `seconds`, the total so far."""
        phases = {f"seconds/{phase}": seconds for phase, seconds in self._phases.items()}
        return phases | {"seconds": time.perf_counter() - self._started}
