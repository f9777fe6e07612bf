"""The end of a run, successful or not. Each step is isolated, so a failing one does not prevent the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.train import TrainingFailedError

from pipelines.shared.summary import summarise
from pipelines.training.actors import ActorHandles, kill_actors

log = logging.getLogger(__name__)
Result = TypeVar("Result")

JOURNAL_SECONDS = 120.0
"""Time limit for the journal to write its queue and for its trackers to flush."""
BELIEFS_SECONDS = 60.0
"""Time limit for the posterior, restarted if necessary, to return its beliefs."""


def shut_down(
    handles: ActorHandles, folder: Path, started: float, status: str, reason: str | None = None
) -> dict[str, Any] | None:
    """Close the journal, write the summary and the final beliefs, kill the actors; returns the summary.

    started: `time.time()` at the run's start. status, reason: as for `summarise`. Never raises, because it may run
    while another error propagates: a failing step is logged together with what is lost. Returns None if the summary
    could not be written.
    """
    try:
        _attempt(
            "the last metrics may be missing from TensorBoard and the trackers; metrics.jsonl has them",
            lambda: ray.get(handles.journal.close.remote(), timeout=JOURNAL_SECONDS),
        )
        beliefs = _attempt(
            "the final beliefs are not written to posterior/beliefs.arrow",
            lambda: ray.get(handles.posterior.table.remote(), timeout=BELIEFS_SECONDS),
        )
        seconds = time.time() - started
        summary = _attempt(
            "summary.json is not complete", lambda: summarise(folder, beliefs, seconds, status, reason)
        )
    finally:
        _attempt("the run's actors stay alive until this process ends", lambda: kill_actors(handles))
    return summary


def _attempt(lost: str, step: Callable[[], Result]) -> Result | None:
    try:
        return step()
    except Exception as error:  # noqa: BLE001 (the error that ended the run, if any, must stay the one that is shown)
        reason = str(error).strip().splitlines() or [""]
        log.warning("%s (%s: %s)", lost, type(error).__name__, reason[0])
        return None


def one_line(error: BaseException) -> str:
    """An error in one line: its type and message, or the last line of the traceback that Ray Train passes on."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, TrainingFailedError) and lines:
        return lines[-1]
    return f"{type(error).__name__}: {' '.join(lines)}" if lines else type(error).__name__
