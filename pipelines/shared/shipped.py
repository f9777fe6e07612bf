"""The configurations that come with the package, by name: `bots train lab` is `bots train …/lab.yaml`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

FOLDERS = {
    "train": "configs",
    "anchors": "configs",
    "pool": "configs",
    "embed": "configs",
    "simulate": "configs",
    "study": "configs",
    "tune": "tune_configs",
}
"""Jobs that take a configuration, and the folder of `pipelines` that holds theirs."""


def shipped(job: str) -> dict[str, Path]:
    """The configurations for a job, by their names without `.yaml`."""
    if job not in FOLDERS:
        return {}
    folder = Path(str(files("pipelines"))) / FOLDERS[job]
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def with_paths(job: str, arguments: list[str]) -> list[str]:
    """The arguments with a path in place of a shipped name that is the first of them; a file of that name comes first.

    Raises ValueError where the first argument is the name of no file and of no configuration.
    """
    known = shipped(job)
    # Later words are overrides, or values of options.
    at = next((at for at, word in enumerate(arguments) if not word.startswith("-")), None)
    if at is not None and arguments[at] in known and not Path(arguments[at]).exists():
        return [*arguments[:at], str(known[arguments[at]]), *arguments[at + 1 :]]
    first = arguments[0] if arguments else "-"
    named = not first.startswith("-") and "/" not in first and "=" not in first
    if known and named and not first.endswith((".yaml", ".yml")) and not Path(first).exists():
        raise ValueError(f"there is no configuration {first!r}; those that come along are {', '.join(known)}")
    return arguments
