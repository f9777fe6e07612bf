"""Checks that the conformance suites of several kinds of plug-in share.

`make` constructs a fresh plug-in. `run(plug_in, part)` gives it the same input for the same part (0, 1, …) each time,
and returns everything that it decided, in a form that `==` compares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np


class Stateful(Protocol):
    """A plug-in that saves its state and has metrics."""

    def state_dict(self) -> dict[str, Any]:
        """All state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""

    def metrics(self) -> dict[str, float]:
        """Metrics to log."""


P = TypeVar("P", bound=Stateful)


def require_same_results(make: Callable[[], P], run: Callable[[P, int], object]) -> None:
    """Two fresh plug-ins with the same input decide the same."""
    plug_in = make()
    if run(plug_in, 0) != run(make(), 0):
        raise AssertionError(
            f"two {_name(plug_in)} with the same input decide differently; draw only from the generator that is passed "
            "in, or seed all randomness"
        )


def require_state(make: Callable[[], P], run: Callable[[P, int], object]) -> None:
    """A plug-in that loads another's state continues exactly like it, and shares no memory with it."""
    original, restored = make(), make()
    run(original, 0)
    state = original.state_dict()
    expected = run(original, 1)
    restored.load_state_dict(state)
    if run(restored, 1) != expected:
        raise AssertionError(
            f"a {_name(original)} that has loaded another's state decides differently from the one that saved it"
        )


def require_growth(grown: P, fresh: P, run: Callable[[P, int], object]) -> None:
    """The state of a plug-in whose pool has grown fits a fresh one constructed with the larger pool."""
    fresh.load_state_dict(grown.state_dict())
    if run(fresh, 1) != run(grown, 1):
        raise AssertionError(
            f"a {_name(grown)} constructed with the larger pool, with the state of one that grew, decides differently"
        )


def require_finite_metrics(plug_in: P, run: Callable[[P, int], object]) -> None:
    """Metrics are finite numbers, before the first input and after it."""
    for part in range(2):
        for name, value in plug_in.metrics().items():
            if not np.isfinite(value):
                raise AssertionError(f"metric {name!r} of {_name(plug_in)} is {value}")
        run(plug_in, part)


def _name(plug_in: Stateful) -> str:
    return type(plug_in).__name__
