"""Selectors: which tasks come next, given the beliefs."""

from __future__ import annotations

from typing import Any

from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector
from bots.selection.dynamic import DynamicFilter
from bots.selection.presets import BUILT_IN, Preset, preset_of
from bots.support.registry import load_class


def make_selector(name: str, pool: TaskPool, options: dict[str, Any] | None = None) -> Selector:
    """The selector of that name for this pool.

    name: bots, greedy, random, offline, mopps, dots, variance, or "module:Class".
    options: keyword arguments of the class.
    Raises ValueError for an unknown name, options it does not take, or a pool that lacks what it needs.
    """
    cls = load_class("selector", name, BUILT_IN, Selector)  # type: ignore[type-abstract]
    try:
        return cls(pool, **(options or {}))
    except TypeError as error:
        raise ValueError(f"selector {name!r}: {error}") from error


__all__ = [
    "BUILT_IN",
    "DynamicFilter",
    "Preset",
    "SelectionRequest",
    "Selector",
    "make_selector",
    "preset_of",
]
