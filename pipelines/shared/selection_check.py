"""Check of selection settings that only the pool or a plug-in can judge."""

from __future__ import annotations

from typing import Any
from warnings import catch_warnings, simplefilter

from bots import BOTS, TaskPool
from bots.config.tree import ConfigError


def check_selection(pool: TaskPool, source: str, **settings: Any) -> None:
    """Build the BOTS object that the job will build later. Raises ConfigError, naming `source`, if that fails.

    Warnings are suppressed here; the job gives them under the names of its own settings.
    """
    try:
        with catch_warnings():
            simplefilter("ignore", UserWarning)
            BOTS(pool, **settings)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error
