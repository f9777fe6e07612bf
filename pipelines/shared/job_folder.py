"""A job's folder: its configuration file says which job it belongs to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import pyarrow.ipc as ipc
import yaml

from bots.config.tree import ConfigError
from bots.config.yaml_text import read_yaml_file
from bots.pool import TaskPool
from bots.support.files import named

CONFIG = "config.yaml"
"""The job's configuration. It is written first and identifies the folder."""
POOL = "pool.arrow"
"""The training pool of a run."""
METRICS = "metrics.jsonl"
"""The metrics of a run, one line per step."""


def read_pool(folder: Path) -> TaskPool:
    """A run's pool, without prompts and answers. Raises OSError or ArrowException for a missing or damaged file."""
    with ipc.open_file(str(folder / POOL)) as file:
        table = file.read_all()
    known = [name for name in ("weak", "strong") if name in table.column_names]
    anchored = len(known) == 2 and any(table[name].null_count < table.num_rows for name in known)
    return TaskPool.from_arrow(table, *(known if anchored else (None, None)))


def check_writable(folder: Path, setting: str) -> None:
    """Raise ConfigError unless a file can be written into a folder, or where the folder will be created.

    Leaves nothing behind. setting: what names the folder, for the message.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    try:
        with TemporaryFile(dir=place) as file:
            file.write(bytes(1 << 16))
            file.flush()
    except OSError as error:
        where = "" if place == folder.absolute() else f" (in {place})"
        raise ConfigError(
            f"{folder} cannot be written: {error.strerror}{where}; make room or rights there, or choose another "
            f"{setting}"
        ) from error


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder` to write to; on leaving, it takes its place.

    Where the block raises, or the process is killed in it, an old folder stays as it was.
    """
    fresh, old = (folder.with_name(f".{folder.name}.{part}") for part in ("new", "old"))
    shutil.rmtree(fresh, ignore_errors=True)  # of a killed process
    try:
        with named(fresh):
            fresh.mkdir(parents=True)
            yield fresh
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                folder.rename(old)
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def kind_of(folder: Path) -> str | None:
    """Which job's configuration is in a folder: "train", "anchors", or None if there is none or an unknown one."""
    try:
        tree = read_yaml_file(folder / CONFIG)
    except (OSError, yaml.YAMLError):
        return None
    if not isinstance(tree, dict):
        return None
    if {"weak", "strong"} <= tree.keys():
        return "anchors"
    return "train" if isinstance(tree.get("run"), dict) and "steps" in tree["run"] else None
