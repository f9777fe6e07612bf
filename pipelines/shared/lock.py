"""Exclusive lock on a job's folder."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from bots.config.tree import ConfigError
from pipelines.shared.command import warn
from pipelines.shared.ray_session import PREVIOUS_RUN_SECONDS, uses_local_ray

_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


@contextmanager
def folder_lock(folder: Path, console: Console, key: str = "run.name") -> Iterator[None]:
    """Hold an exclusive lock on a job's folder for the duration of the block.

    The lock is on a file beside the folder; the system releases it when this process ends, even if killed. On a
    cluster the job's previous process, which may have been killed a moment ago, is waited for; elsewhere there is no
    wait. If the disk cannot lock (some network disks cannot), a warning says so and the block runs without a lock.

    key: the configuration key that names the folder.
    Raises ConfigError if another process holds the lock or the folder cannot be created.
    """
    path = folder.with_name(f".{folder.name}.lock")
    # Not a soft lock: it would outlive a killed process, and the run could not be resumed.
    lock = FileLock(path, timeout=0 if uses_local_ray() else PREVIOUS_RUN_SECONDS, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        with suppress(OSError):  # on a full disk the message of another job lacks it
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    except Timeout as error:
        raise ConfigError(
            f"a job in {folder} is alive ({_holder(path)} locks {path}). End it, or choose another {key}. If its "
            "machine is gone and the network disk still reports the lock, delete that file"
        ) from error
    except OSError as error:
        if error.errno in _UNWRITABLE and not folder.is_dir():
            raise unwritable_folder(folder, error) from error
        warn(
            console,
            f"{path} cannot be locked ({error.strerror}); make sure that no other process works in {folder}",
        )
    try:
        yield
    finally:
        if lock.is_locked:
            # Before the release: after it, the file may belong to another process.
            path.unlink(missing_ok=True)
            lock.release()


def _holder(path: Path) -> str:
    """The process that holds a lock, as far as its file tells."""
    try:
        return path.read_text(errors="replace")[:200].strip() or "its process"
    except OSError:
        return "its process"


def unwritable_folder(folder: Path, error: OSError) -> ConfigError:
    """The ConfigError for a folder that cannot be written."""
    return ConfigError(f"folder {folder} cannot be written: {error.strerror}")
