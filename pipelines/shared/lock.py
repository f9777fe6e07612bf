"""A job's folder is one process's at a time."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from bots.config.tree import ConfigError
from pipelines.shared.command import warn
from pipelines.shared.ray_session import ENDING_SECONDS, embedded

_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


@contextmanager
def held(folder: Path, console: Console, key: str = "run.name") -> Iterator[None]:
    """Keep other processes out of a job's folder for the time of the block.

    The hold is a lock on a file beside the folder, which the system lifts when this process ends, however it does.
    On a cluster an earlier life of the job, ended a moment ago, is waited for; else nobody is. Where the disk cannot
    lock, as some that are shared by network, a warning says so and the block runs all the same.
    key: what names the folder in the job's configuration.
    Raises ConfigError where another process holds the folder, or where there can be none.
    """
    path = folder.with_name(f".{folder.name}.lock")
    # A soft lock in its place would outlive a killed process, and the run could not be resumed.
    lock = FileLock(path, timeout=0 if embedded() else ENDING_SECONDS, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"a job in {folder} is alive (its process holds {path}); end it, or choose another {key}. If its "
            "machine is lost and the network disk does not know, remove that file"
        ) from error
    except OSError as error:
        if error.errno in _UNWRITABLE and not folder.is_dir():
            raise unwritable(folder, error) from error
        warn(
            console,
            f"{path} cannot be locked ({error.strerror}); see to it that no other process works in {folder}",
        )
    try:
        yield
    finally:
        if lock.is_locked:
            # Before it is given back: afterwards the file may be another's.
            path.unlink(missing_ok=True)
            lock.release()


def unwritable(folder: Path, error: OSError) -> ConfigError:
    """The refusal of a folder that the system does not let us write."""
    return ConfigError(f"folder {folder} cannot be written: {error.strerror}")
