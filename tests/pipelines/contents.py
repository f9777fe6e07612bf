"""A folder's contents, to compare them later."""

from __future__ import annotations

from pathlib import Path


def files(folder: Path) -> dict[Path, bytes]:
    """Every file's content, by its path in the folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
