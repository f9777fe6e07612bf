"""The end of a run, whatever brought it: each step by itself, so that none that fails takes the others with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.train import TrainingFailedError

from pipelines.shared.summary import summarise
from pipelines.training.actors import Crew, dismiss

log = logging.getLogger(__name__)
Found = TypeVar("Found")

CLOSING_SECONDS = 120.0
"""How long the journal has to write what is queued and its trackers to send what they hold."""
TABLE_SECONDS = 60.0
"""How long the posterior, restarted if need be, has to hand out its beliefs."""


def conclude(
    crew: Crew, folder: Path, started: float, status: str, reason: str | None = None
) -> dict[str, Any] | None:
    """Close the journal, write the summary and the final beliefs, dismiss the crew; returns the summary.

    started: `time.time()` of the run's start. status, reason: as `summarise` has them. Raises nothing, for it is called
    where an error may be under way: what fails is logged with what is lost by it. None: the summary could not be
    written.
    """
    try:
        _attempt(
            "the last figures may be missing from TensorBoard and the trackers; metrics.jsonl has them",
            lambda: ray.get(crew.journal.close.remote(), timeout=CLOSING_SECONDS),
        )
        beliefs = _attempt(
            "the final beliefs are not written to posterior/beliefs.arrow",
            lambda: ray.get(crew.posterior.table.remote(), timeout=TABLE_SECONDS),
        )
        seconds = time.time() - started
        summary = _attempt(
            "summary.json is not complete", lambda: summarise(folder, beliefs, seconds, status, reason)
        )
    finally:
        _attempt("the run's actors live until this process ends", lambda: dismiss(crew))
    return summary


def _attempt(lost: str, step: Callable[[], Found]) -> Found | None:
    try:
        return step()
    except Exception as error:  # noqa: BLE001 (the error that ends the run, if any, is the one to be seen)
        reason = str(error).strip().splitlines() or [""]
        log.warning("%s (%s: %s)", lost, type(error).__name__, reason[0])
        return None


def in_short(error: BaseException) -> str:
    """What ended a run, in a line: its name and words, or the last line of the traceback that Ray Train hands on."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, TrainingFailedError) and lines:
        return lines[-1]
    return f"{type(error).__name__}: {' '.join(lines)}" if lines else type(error).__name__
