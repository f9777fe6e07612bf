"""Implicit evidence: plug-ins that predict the pass rate of every task from those of a batch."""

from __future__ import annotations

from typing import Any

from bots.evidence.base import Evidence
from bots.pool import TaskPool
from bots.support.registry import load_class

BUILT_IN = {
    "auto": "bots.evidence.auto:Auto",
    "none": "bots.evidence.none:NoEvidence",
    "interpolation": "bots.evidence.interpolation:Interpolation",
    "item_response": "bots.evidence.item_response:ItemResponse",
    "neighbours": "bots.evidence.neighbours:Neighbours",
    "online": "bots.evidence.online:Online",
}

FROM_ANCHORS = ("interpolation", "item_response")
"""Those that predict nothing for a task whose reference pass rates are unknown."""


def make_evidence(name: str | None, pool: TaskPool, params: dict[str, Any] | None = None) -> Evidence | None:
    """The plug-in of that name for this pool; None or "none" gives None: explicit evidence only.

    name: a key of `BUILT_IN`, or "module:Class".
    params: keyword arguments of the class.
    Raises ValueError for an unknown name, parameters it does not take, or a pool that lacks what it needs.
    """
    if name is None or name == "none":
        if params:
            raise ValueError(f"evidence 'none' takes no parameters, got {', '.join(params)}")
        return None
    cls = load_class("evidence", name, BUILT_IN, Evidence)  # type: ignore[type-abstract]
    try:
        return cls(pool, **(params or {}))
    except TypeError as error:
        raise ValueError(f"evidence {name!r}: {error}") from error


__all__ = ["BUILT_IN", "FROM_ANCHORS", "Evidence", "make_evidence"]
