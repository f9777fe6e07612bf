"""Which files a path, a folder or a pattern means."""

from __future__ import annotations

import glob
from pathlib import Path

from bots.sources.base import SourceError


def find_files(path: str, suffixes: tuple[str, ...]) -> list[str]:
    """The files in a fixed order: a file is itself, a folder all files below it with one of the suffixes.

    Raises SourceError where there is none.
    """
    if any(sign in path for sign in "*?["):
        found = sorted(name for name in glob.glob(path, recursive=True) if Path(name).is_file())
    elif Path(path).is_dir():
        found = sorted(
            str(file) for file in Path(path).rglob("*") if file.name.endswith(suffixes) and file.is_file()
        )
    elif Path(path).is_file():
        found = [path]
    else:
        where = "" if Path(path).is_absolute() else f" (looked for in {Path.cwd()})"
        raise SourceError(f"no such file or folder: {path}{where}; it is the `path` of a pool's source")
    if not found:
        raise SourceError(f"{path} has no file that ends in {' or '.join(suffixes)}")
    return found
