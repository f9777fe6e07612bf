"""Selectors: which tasks come next, given the beliefs."""

from __future__ import annotations

from typing import Any

from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector, SelectorError
from bots.selection.dynamic import DynamicFilter
from bots.selection.presets import Preset, preset_of
from bots.support import registry

BUILT_IN = registry.BUILT_IN["selector"]


def make_selector(name: str, pool: TaskPool, options: dict[str, Any] | None = None) -> Selector:
    """The selector of that name for this pool.

    name: listed in `bots.support.registry`, or "module:Class". options: keyword arguments of the class.
    Raises ValueError for an unknown name, options it does not take, or a pool that lacks what it needs.
    """
    return registry.make("selector", name, Selector, (pool,), options or {})  # type: ignore[type-abstract]


__all__ = [
    "BUILT_IN",
    "DynamicFilter",
    "Preset",
    "SelectionRequest",
    "Selector",
    "SelectorError",
    "make_selector",
    "preset_of",
]
