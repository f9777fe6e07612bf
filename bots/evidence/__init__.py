"""Implicit evidence: plug-ins that predict the pass rate of every task from those of a batch."""

from __future__ import annotations

from typing import Any

from bots.evidence.base import Evidence
from bots.pool import TaskPool
from bots.support import registry

BUILT_IN = registry.BUILT_IN["evidence"]

FROM_ANCHORS = ("interpolation", "item_response")
"""Plug-ins that predict nothing for a task whose reference pass rates are unknown."""


def make_evidence(name: str | None, pool: TaskPool, params: dict[str, Any] | None = None) -> Evidence | None:
    """The plug-in of that name for this pool; None or "none" gives None: explicit evidence only.

    name: listed in `bots.support.registry`, or "module:Class". params: keyword arguments of the class.
    Raises ValueError for an unknown name, parameters it does not take, or a pool that lacks what it needs.
    """
    if name is None or name == "none":
        if params:
            raise ValueError(f"evidence 'none' takes no parameters, got {', '.join(params)}")
        return None
    return registry.make("evidence", name, Evidence, (pool,), params or {})  # type: ignore[type-abstract]


__all__ = ["BUILT_IN", "FROM_ANCHORS", "Evidence", "make_evidence"]
