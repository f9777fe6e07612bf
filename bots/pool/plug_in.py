"""What the plug-ins that are constructed for a pool share: they grow with it, save their state and log metrics."""

from __future__ import annotations

from typing import Any

from bots.pool.task_pool import TaskPool


class PoolPlugIn:
    """Base of `Selector`, `Evidence` and `Allocation`. A plug-in without state of its own overrides nothing here.

    pool: the tasks; a plug-in must not change them. A constructor raises ValueError if the pool lacks what the
    plug-in needs (name the column).
    """

    def __init__(self, pool: TaskPool) -> None:
        self.pool = pool

    def grow(self, pool: TaskPool) -> None:
        """The pool gained rows at the end; old rows keep their numbers. Extend what is held per row."""
        self.pool = pool

    def state_dict(self) -> dict[str, Any]:
        """All state that changes after construction, as JSON values and NumPy arrays. The beliefs are saved elsewhere.

        `load_state_dict` restores it exactly. Later calls must not change what was returned.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, on a plug-in constructed with the same pool and options."""
        if state:
            raise ValueError(f"{type(self).__name__} holds no state, but got {', '.join(state)}")

    def metrics(self) -> dict[str, float]:
        """A few finite numbers to log, named by what they measure."""
        return {}
