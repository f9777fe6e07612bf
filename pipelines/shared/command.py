"""What the command lines of all jobs share: warnings, refusals, interrupts and their exit status."""

from __future__ import annotations

import linecache
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from ray.train import TrainingFailedError
from rich.console import Console

from actors.fatal import FatalError
from pipelines.shared.resources import ResourceError

STOREYS = [Path(__file__).resolve().parents[2] / name for name in ("bots", "actors", "pipelines")]


def run_job(name: str, job: Callable[[Console], None], failures: tuple[type[Exception], ...] = ()) -> int:
    """Run a job; returns 0, 1 for a failure, 2 for a refusal or 130 for an interrupt, each with its message.

    A refusal is a ResourceError, or a ValueError that our own code raises; any other ValueError is passed on.
    failures: errors of the job's own whose message says all. A request to end (SIGTERM, as `ray job stop` sends it)
    counts as an interrupt.
    """

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    errors = Console(stderr=True)
    try:
        job(Console())
    except (ValueError, ResourceError) as error:
        if isinstance(error, ValueError) and not _meant(error):
            raise
        errors.print(f"bots {name}: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    except (TrainingFailedError, FatalError, FloatingPointError, *failures) as error:
        errors.print(f"bots {name} failed: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        errors.print("interrupted; everything has been ended, results so far are kept")
        return 130
    return 0


def warn(console: Console, warning: str) -> None:
    """Print a warning on a line of its own."""
    console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _meant(error: ValueError) -> bool:
    """Whether a `raise` of ours is behind an error, with words for a person; any other needs its traceback."""
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    file = Path(frame.f_code.co_filename).resolve()
    ours = any(file.is_relative_to(storey) for storey in STOREYS)
    return ours and linecache.getline(str(file), line).lstrip().startswith("raise ")
