"""Grouping of runs: seeds of one setting, and settings that can be compared."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.report.run import ReportError, Run, read_run

MEASURE = ("evaluation.pool", "evaluation.samples", "evaluation.temperature")
"""Keys that define the held-out score."""


@dataclass(frozen=True)
class Setting:
    """Runs that differ only in `run` (name, folder, seed, steps …), in the order given.

    differences: the values, as text, of the keys in which the settings differ.
    """

    label: str
    runs: list[Run]
    differences: dict[str, str]


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read every folder and give the runs unique labels.

    Raises ReportError if a folder is not a run's or is given twice, or if the runs measure different scores.
    """
    twice = [str(path) for path, count in Counter(p.resolve() for p in folders).items() if count > 1]
    if twice:
        raise ReportError(f"{twice[0]} is given twice")
    runs = [read_run(folder) for folder in folders]
    names = Counter(run.name for run in runs)
    runs = [dataclasses.replace(r, label=str(r.folder)) if names[r.name] > 1 else r for r in runs]
    _same_measure(runs)
    return runs


def group(runs: Sequence[Run]) -> list[Setting]:
    """Group runs into settings, in the order of their first run."""
    flat = [_method(run) for run in runs]
    keys = sorted({key for one in flat for key in one}, key=lambda key: (key != "selection.selector", key))
    differing = [key for key in keys if len({one.get(key, "unset") for one in flat}) > 1]
    members: dict[tuple[str, ...], list[Run]] = {}
    for run, one in zip(runs, flat, strict=True):
        members.setdefault(tuple(one.get(key, "unset") for key in differing), []).append(run)
    labels = _labels(differing, list(members), runs)
    return [
        Setting(label, runs, dict(zip(differing, values, strict=True)))
        for label, (values, runs) in zip(labels, members.items(), strict=True)
    ]


def _labels(keys: list[str], values: list[tuple[str, ...]], runs: Sequence[Run]) -> list[str]:
    """Labels from the fewest differences, the selector first, that tell the settings apart."""
    if len(values) == 1:
        return [str(runs[0].config.get("selection", {}).get("selector", runs[0].label))]
    shown = [i for i, key in enumerate(keys) if key == "selection.selector"]
    for place in range(len(keys)):
        if len({tuple(one[i] for i in shown) for one in values}) == len(values):
            break
        if place not in shown and _tells_more(shown, place, values):
            shown.append(place)
    return [
        ", ".join(
            one[i] if keys[i] == "selection.selector" else f"{keys[i].split('.')[-1]}={one[i]}" for i in shown
        )
        for one in values
    ]


def _tells_more(shown: list[int], place: int, values: list[tuple[str, ...]]) -> bool:
    return len({tuple(one[i] for i in [*shown, place]) for one in values}) > len(
        {tuple(one[i] for i in shown) for one in values}
    )


def _same_measure(runs: Sequence[Run]) -> None:
    for key in MEASURE:
        found: dict[str, Run] = {}
        for run in runs:
            section, name = key.split(".")
            found.setdefault(str(run.config.get(section, {}).get(name)), run)
        if len(found) > 1:
            (one, first), (other, second) = list(found.items())[:2]
            raise ReportError(
                f"{first.folder} and {second.folder} cannot be compared because their scores measure different things: "
                f"{key} is {_short(one)} and {_short(other)}"
            )


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]} …"


def _method(run: Run) -> dict[str, str]:
    """The flattened configuration without `run`."""
    return _flat({key: value for key, value in run.config.items() if key != "run"})


def _flat(tree: Any, path: str = "") -> dict[str, str]:
    if isinstance(tree, dict) and tree:
        return {
            k: v
            for key, value in tree.items()
            for k, v in _flat(value, f"{path}.{key}" if path else key).items()
        }
    # As on the command line: null, true.
    return {path: tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False)}
