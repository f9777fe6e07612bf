"""Selection settings that only the pool or a plug-in can judge."""

from __future__ import annotations

from typing import Any
from warnings import catch_warnings, simplefilter

from bots import BOTS, TaskPool
from bots.config.tree import ConfigError


def check_selection(pool: TaskPool, source: str, **settings: Any) -> None:
    """Build the BOTS that a job will build later. Raises ConfigError, from `source`, for what it refuses.

    Its warnings are left to the job, which has them by the names of its settings.
    """
    try:
        with catch_warnings():
            simplefilter("ignore", UserWarning)
            BOTS(pool, **settings)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error
