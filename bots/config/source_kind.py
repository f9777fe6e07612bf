"""What kind of source a path or a name is, where the configuration does not say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

SUFFIXES = {
    "parquet": (".parquet",),
    "jsonl": (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz"),
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
}
"""Kind of source → how its files end."""


def with_kind(source: Any) -> Any:
    """The settings of a source with its `kind` filled in, if it has none; a text is its path.

    Raises ValueError for a path that nothing is known of.
    """
    if isinstance(source, str):
        source = {"path": source}
    if not isinstance(source, dict) or "kind" in source:
        return source
    if "generators" in source:
        return {**source, "kind": "reasoning_gym"}
    path = source.get("path")
    return {**source, "kind": kind_of(path)} if isinstance(path, str) else source


def kind_of(path: str) -> str:
    """parquet, jsonl, csv or huggingface."""
    if not path.strip():
        raise ValueError("a source's path is empty")
    local = os.path.expanduser(path)
    if Path(local).is_dir():
        return _of_folder(Path(local), path)
    lower = path.lower().partition("?")[0] if "://" in path else path.lower()
    for kind, suffixes in SUFFIXES.items():
        if lower.endswith(suffixes):
            return kind
    if "://" in path:
        return "parquet"
    if path.startswith((".", "/", "~")) or path.count("/") > 1 or Path(local).exists():
        ends = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        raise ValueError(
            f"{path}: there is no such folder, and it is no file that ends in {ends}; set its kind"
        )
    return "huggingface"


def _of_folder(folder: Path, path: str) -> str:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return "huggingface"
    names = [file.name.lower() for file in folder.rglob("*") if file.is_file()]
    found = [kind for kind, suffixes in SUFFIXES.items() if any(name.endswith(suffixes) for name in names)]
    if len(found) == 1:
        return found[0]
    has = f"has files of several kinds ({', '.join(found)})" if found else "has no file of a known kind"
    raise ValueError(f"folder {path} {has}; set the source's kind")
