"""The checkpoints in a run's folder: which are committed, which are intact, and which one a resume uses."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray

from bots.support.files import replace_text

POSTERIOR = "posterior.arrow"
PROGRESS = "progress.pkl"
LEARNER = "learner.json"
FOLDER = "checkpoints"
RECORD = "checkpoint_manager_snapshot.json"
"""Ray Train's record of the committed checkpoints, written after their files."""
ASIDE = "aside_"
"""Name prefix of checkpoints that a resume has set aside."""
_BLOCK = 1 << 20


def folder_name(step: int) -> str:
    """Name of the folder of a step's checkpoint."""
    return f"step_{step:06d}"


def write_manifest(folder: Path, rank: int, of_rank: Iterable[Path]) -> None:
    """Write size and CRC-32 of a rank's files in a checkpoint to `files-RANK.json`.

    of_rank: these files. PyTorch's files contain their own checksums, so for those only the size is written.
    """
    files = {}
    for path in of_rank:
        name = str(path.relative_to(folder))
        files[name] = {"bytes": path.stat().st_size}
        if path.suffix != ".pt":
            files[name]["crc32"] = _crc(path)
    (folder / f"files-{rank}.json").write_text(json.dumps(files))


def update_manifest(folder: Path, name: str) -> None:
    """Update the manifest of a checkpoint after one of its files was replaced on purpose."""
    for manifest in folder.glob("files-*.json"):
        files = json.loads(manifest.read_text())
        if name in files:
            files[name] = {"bytes": (folder / name).stat().st_size, "crc32": _crc(folder / name)}
            replace_text(manifest, json.dumps(files))


@dataclass(frozen=True)
class Saved:
    """One checkpoint's folder, `step_STEP`."""

    folder: Path

    @property
    def step(self) -> int:
        """The step after which it was taken."""
        return int(self.folder.name.removeprefix("step_"))

    def fault(self) -> str | None:
        """What is wrong with it; None if it is intact. Reads all of its files, but only again if they have changed."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return _fault_of(
            self, tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
        )

    def _look(self) -> str | None:
        try:
            ranks = int(json.loads((self.folder / LEARNER).read_text())["ranks"])
            noted = self._manifest(ranks)
            for name, about in noted.items():
                if fault := _fault(self.folder / name, about):
                    return f"{name} {fault}"
            pickle.loads((self.folder / PROGRESS).read_bytes())
            if not noted:  # old checkpoints have no manifest
                for path in self.folder.rglob("*.pt"):
                    if fault := _fault(path, {}):
                        return f"{path.name} {fault}"
                if not any(self.folder.rglob("*.pt")):
                    return "it has no learner state"
        except FileNotFoundError as error:
            return f"{Path(error.filename).name} is missing"
        except Exception as error:  # noqa: BLE001 (unpickling damaged bytes can raise anything)
            return f"it cannot be read ({type(error).__name__}: {error})"
        return None

    def _manifest(self, ranks: int) -> dict[str, dict[str, int]]:
        if not any(self.folder.glob("files-*.json")):
            return {}
        noted: dict[str, dict[str, int]] = {}
        for rank in range(ranks):
            noted |= json.loads((self.folder / f"files-{rank}.json").read_text())
        return noted


@lru_cache(maxsize=16)
def _fault_of(saved: Saved, files: tuple[tuple[str, int, int], ...]) -> str | None:
    return saved._look()


def committed(run: Path) -> list[Saved]:
    """The checkpoints that a resume may use, oldest first.

    These are the ones in Ray Train's record or, if the record is missing or damaged, every intact folder.
    """
    folder = run / FOLDER
    record = _record(folder)
    if record is None:
        return [saved for saved in _on_disk(folder) if saved.fault() is None]
    names = {result["checkpoint_dir_name"] for result in _results(record)}
    return [saved for saved in _on_disk(folder) if saved.folder.name in names]


def leftovers(run: Path) -> list[Saved]:
    """Folders of checkpoints that were never committed: the run died, or its disk was full, while it wrote them."""
    known = committed(run)
    return [saved for saved in _on_disk(run / FOLDER) if saved not in known]


def restore_from(run: Path, step: int | None) -> None:
    """Make a committed checkpoint the one that Ray Train restores. step: None starts at step 1.

    Newer checkpoints are kept under other names (`aside_step_…`); folders that were never committed are deleted.
    """
    folder = run / FOLDER
    for saved in leftovers(run):
        shutil.rmtree(saved.folder)
    known = committed(run)
    kept = [saved for saved in known if step is not None and saved.step <= step]
    if not folder.is_dir():
        return
    old = _record(folder)
    if not kept:
        (folder / RECORD).unlink(missing_ok=True)
    elif old is None or len(kept) < len(known) or len(kept) < len(_results(old)) or _latest(old) != step:
        replace_text(folder / RECORD, json.dumps(_new_record(old, kept)))
    for saved in known[len(kept) :]:
        aside = saved.folder.with_name(f"{ASIDE}{saved.folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        saved.folder.rename(aside)


def _on_disk(folder: Path) -> list[Saved]:
    found = [Saved(path) for path in folder.glob("step_*") if path.name.removeprefix("step_").isdecimal()]
    return sorted(found, key=lambda saved: saved.step)


def _record(folder: Path) -> dict[str, Any] | None:
    """Ray Train's record; None if it is missing or damaged."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        steps = [_step_of(result) for result in _results(record)]
        _latest(record)
        whole = len(record["checkpoint_report_indices"]) == len(steps) and "ray_version" in record
    except (FileNotFoundError, IsADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if steps and whole else None


def _results(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = record["checkpoint_results"]
    return results


def _step_of(result: Mapping[str, Any]) -> int:
    return int(result["checkpoint_dir_name"].removeprefix("step_"))


def _latest(record: Mapping[str, Any]) -> int | None:
    latest = record.get("latest_checkpoint_result")
    return _step_of(latest) if latest else None


def _new_record(old: Mapping[str, Any] | None, kept: list[Saved]) -> dict[str, Any]:
    """A record of only these checkpoints, in the order of the old one (by score with `run.keep_best`)."""
    names = {saved.folder.name: saved for saved in kept}
    if old is None:
        results = [_result(saved) for saved in kept]
        indices = list(range(len(kept)))
        ray_version = ray.__version__
    else:
        pairs = zip(_results(old), old["checkpoint_report_indices"], strict=True)
        chosen = [(result, index) for result, index in pairs if result["checkpoint_dir_name"] in names]
        results, indices = [result for result, _ in chosen], [index for _, index in chosen]
        ray_version = old["ray_version"]
    newest = max(results, key=_step_of)
    return {
        "ray_version": ray_version,
        "checkpoint_results": results,
        "checkpoint_report_indices": indices,
        "latest_checkpoint_result": newest,
        "pending_training_results": [],
        "pending_validation_specs": [],
        "current_report_index": max(indices) + 1,
        "validated_checkpoint_dir_names": [],
        "timed_out_validation_checkpoint_dir_names": [],
        "failed_validation_checkpoint_dir_names": [],
    }


def _result(saved: Saved) -> dict[str, Any]:
    progress = pickle.loads((saved.folder / PROGRESS).read_bytes())
    score = progress.get("score")
    metrics = {"step": saved.step, "score": -1.0 if score is None else score}
    return {"version": 0, "checkpoint_dir_name": saved.folder.name, "metrics": metrics}


def _fault(path: Path, about: Mapping[str, int]) -> str | None:
    """What is wrong with one file of a checkpoint. Raises FileNotFoundError if it is missing."""
    size = path.stat().st_size
    if about and size != about["bytes"]:
        return f"has {size:,} bytes, not {about['bytes']:,}"
    if path.suffix == ".pt":
        try:
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
        except zipfile.BadZipFile:
            return "is damaged"
        return f"is damaged (its part {broken})" if broken else None
    if "crc32" in about and _crc(path) != about["crc32"]:
        return "is damaged"
    return None


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc
