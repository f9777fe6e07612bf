"""Shared by the command lines of all jobs: warnings, error messages, interrupts and exit status."""

from __future__ import annotations

import errno
import linecache
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from ray.train import TrainingFailedError
from rich.console import Console

from actors.fatal import FatalError
from pipelines.shared.resources import ResourceError

PACKAGES = [Path(__file__).resolve().parents[2] / name for name in ("bots", "actors", "pipelines")]


STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}
"""What a disk says that is full, may not be written or fails: with the file's name it needs no traceback."""


def run_job(name: str, job: Callable[[Console], None], failures: tuple[type[Exception], ...] = ()) -> int:
    """Run a job and print its error, if any; returns 0, 1 for a failure, 2 for a refusal or 130 for an interrupt.

    A refusal is a ResourceError, or a ValueError raised by this project's code; any other ValueError propagates.
    failures: further error types of this job that need no traceback. SIGTERM, which `ray job stop` sends, counts as an
    interrupt.
    """

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    expected: tuple[type[Exception], ...] = (TrainingFailedError, FatalError, FloatingPointError, *failures)
    errors = Console(stderr=True)
    try:
        job(Console())
    except (ValueError, ResourceError) as error:
        if isinstance(error, ValueError) and not _is_refusal(error):
            raise
        errors.print(f"bots {name}: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    except expected as error:
        # Ray Train hands on a traceback. Where the operating system refused something, its last line says it all.
        last = str(error).strip().splitlines()[-1:]
        told = last[0] if last and "[Errno " in last[0] else error
        errors.print(f"bots {name} failed: {told}", markup=False, highlight=False, soft_wrap=True)
        return 1
    except OSError as error:
        if error.errno not in STORAGE:
            raise
        where = "" if error.filename is not None else f" (at {_place(error)})"
        errors.print(f"bots {name} failed: {error}{where}", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        errors.print("interrupted; all processes have ended, results so far are kept")
        return 130
    return 0


def warn(console: Console, warning: str) -> None:
    """Print a warning on its own line."""
    console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _place(error: OSError) -> str:
    """The innermost place in this project that an error came through, for one that names no file."""
    frames = [
        (frame.f_code.co_filename, line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    ours = [one for one in frames if any(Path(one[0]).is_relative_to(package) for package in PACKAGES)]
    file, line, function = (ours or frames)[-1]
    return f"{function}, line {line} of {Path(file).name}"


def _is_refusal(error: ValueError) -> bool:
    """Whether a `raise` in this project is the origin: its message is for the user. Others need their traceback."""
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    file = Path(frame.f_code.co_filename).resolve()
    ours = any(file.is_relative_to(package) for package in PACKAGES)
    return ours and linecache.getline(str(file), line).lstrip().startswith("raise ")
