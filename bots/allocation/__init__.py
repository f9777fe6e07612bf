"""Allocation: how many rollouts each selected task gets."""

from __future__ import annotations

from typing import Any

from bots.allocation.base import Allocation, AllocationError, AllocationRequest
from bots.pool import TaskPool
from bots.support import registry

EVEN = "even"


def make_allocation(name: str, pool: TaskPool, options: dict[str, Any] | None = None) -> Allocation:
    """The allocation called `name` for this pool.

    name: listed in `bots.support.registry`, or "module:Class". options: keyword arguments of the class.
    Raises ValueError for an unknown name, an unknown option, or a pool without a column it needs.
    """
    return registry.make("allocation", name, Allocation, (pool,), options or {})  # type: ignore[type-abstract]


__all__ = ["EVEN", "Allocation", "AllocationError", "AllocationRequest", "make_allocation"]
