"""The configurations that come with the package, by name: `bots train lab` is `bots train …/lab.yaml`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

OTHERS = {"anchors": "*_anchors.yaml", "simulate": "sim_*.yaml", "study": "study*.yaml"}
"""How the files in `configs` are called that are not a train job's, by the job that they are for."""
TRAIN = ("train", "pool", "embed")
"""Jobs that take a train job's configuration."""


def shipped(job: str) -> dict[str, Path]:
    """The configurations for a job, by their names without `.yaml`."""
    root = Path(str(files("pipelines")))
    found: list[Path] = []
    if job == "tune":
        found = list((root / "tune_configs").glob("*.yaml"))
    elif job in OTHERS:
        found = list((root / "configs").glob(OTHERS[job]))
    elif job in TRAIN:
        found = [
            path for path in (root / "configs").glob("*.yaml") if not any(map(path.match, OTHERS.values()))
        ]
    return {path.stem: path for path in sorted(found)}


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
