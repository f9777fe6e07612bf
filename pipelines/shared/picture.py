"""Saving a plot: whole or not at all, and an error of the disk names the file."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from bots.support.files import replacing


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure in the format of the path's suffix. An old picture stays until the new one is whole."""
    with replacing(path) as partial:
        figure.savefig(partial, dpi=dpi, format=path.suffix.removeprefix("."))
