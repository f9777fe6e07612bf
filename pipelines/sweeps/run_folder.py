"""A sweep's folder: creating it, and the checks that protect earlier results."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from bots.config.tree import ConfigError
from bots.support.files import replace_text
from pipelines.shared.job_folder import check_writable
from pipelines.shared.lock import unwritable_folder
from pipelines.sweeps.config import Sweep

MARK = "sweep.yaml"
TRIALS = "trials"


def check_folder(sweep: Sweep, *, resume: bool, overwrite: bool) -> None:
    """Raise ConfigError if the sweep's folder exists and no flag is given, or if it belongs to another sweep, to
    something else, is damaged or can't be written. Changes nothing, so it can come before Ray starts."""
    folder, known = sweep.config.sweep.path, sweep.config.sweep.path / MARK
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite cannot be combined")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, not a sweep's folder; choose another sweep.name")
    if resume:
        if not known.exists():
            raise ConfigError(f"nothing to resume in {folder}")
        try:
            before = yaml.safe_load(known.read_bytes())
        except (yaml.YAMLError, OSError) as error:
            raise ConfigError(
                f"{known} cannot be read, so it is unknown which sweep it belongs to: {' '.join(str(error).split())}; "
                "replace the sweep with --overwrite, or choose another sweep.name"
            ) from error
        if not isinstance(before, dict) or "tune" not in before:
            raise ConfigError(
                f"{known} cannot be read, so it is unknown which sweep it belongs to: it holds no sweep; replace the "
                "sweep with --overwrite, or choose another sweep.name"
            )
        _check_same_sweep(before, sweep.described(), known)
    elif folder.exists() and any(folder.iterdir()):
        if not known.exists():
            raise ConfigError(f"{folder} exists and is not a sweep's folder; choose another sweep.name")
        if not overwrite:
            raise ConfigError(
                f"sweep folder {folder} exists; continue it with --resume, replace it with --overwrite, "
                "or choose another sweep.name"
            )
    check_writable(folder if resume else folder.parent, "sweep.folder")


def create_folder(sweep: Sweep, *, resume: bool, overwrite: bool) -> Path:
    """Create, reuse or replace the sweep's folder, as the flags say. Raises ConfigError as `check_folder`."""
    check_folder(sweep, resume=resume, overwrite=overwrite)
    folder, known = sweep.config.sweep.path, sweep.config.sweep.path / MARK
    if resume:
        return folder
    try:
        if known.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TRIALS).mkdir()
        replace_text(known, yaml.safe_dump(sweep.described(), sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise unwritable_folder(folder, error) from error
    return folder


def _check_same_sweep(before: dict[str, Any], now: dict[str, Any], known: Path) -> None:
    free = {"tune.sweep.folder", "tune.search.concurrent", "tune.base"}
    old, new = _flat(before), _flat(now)
    for key in sorted(set(old) | set(new)):
        if old.get(key) != new.get(key) and key not in free:
            raise ConfigError(
                f"{known} belongs to another sweep: {key} was {old.get(key)!r}, now it is {new.get(key)!r}; "
                "a resumed sweep must keep it"
            )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {prefix.rstrip("."): tree}
    return {k: v for key, value in tree.items() for k, v in _flat(value, f"{prefix}{key}.").items()}
