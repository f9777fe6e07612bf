"""BOTS: Bayesian online task selection for reinforcement finetuning (arXiv 2510.26374)."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from bots.belief.prior import AnchorPrior
    from bots.belief.snapshot import SnapshotError
    from bots.core import BOTS
    from bots.pool import PoolError, TaskPool
    from bots.selection import DynamicFilter

__all__ = ["BOTS", "AnchorPrior", "DynamicFilter", "PoolError", "SnapshotError", "TaskPool"]

_HOMES = {
    "BOTS": "bots.core",
    "AnchorPrior": "bots.belief.prior",
    "DynamicFilter": "bots.selection",
    "PoolError": "bots.pool",
    "SnapshotError": "bots.belief.snapshot",
    "TaskPool": "bots.pool",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("bots-rft")
    # Imported on first use: a process that needs one part (an engine its settings, say) must not load numba, whose
    # libraries break vLLM if they are loaded first.
    if name not in _HOMES:
        raise AttributeError(f"module 'bots' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
