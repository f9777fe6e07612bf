"""A run's checkpoints as Ray Train and the learner write them; only the weights are made up."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import ray
import torch

from pipelines.training.saved import FOLDER, LEARNER, POSTERIOR, PROGRESS, RECORD, folder_name, write_manifest


def make_checkpoint(run: Path, step: int, *, committed: bool = True, score: float | None = None) -> Path:
    """Write a step's checkpoint into a run's folder and Ray Train's record of it; returns its folder."""
    folder = run / FOLDER / folder_name(step)
    (folder / "learner").mkdir(parents=True)
    torch.save({"weights": torch.arange(1000.0) + step}, folder / "learner" / "mp_rank_00_model_states.pt")
    (folder / LEARNER).write_text(json.dumps({"ranks": 1, "zero_stage": 0}))
    (folder / POSTERIOR).write_bytes(b"beliefs" * 100)
    progress = {"step": step, "selected": {}, "ledger": {}, "score": score}
    (folder / PROGRESS).write_bytes(pickle.dumps(progress))
    write_manifest(folder, 0, [path for path in folder.rglob("*") if path.is_file()])
    if committed:
        note_commit(run / FOLDER / RECORD, step, score)
    return folder


def note_commit(path: Path, step: int, score: float | None) -> None:
    """Add a checkpoint to Ray Train's record, which Ray overwrites in place."""
    record = json.loads(path.read_text()) if path.exists() else {"checkpoint_results": []}
    metrics = {"step": step, "score": -1.0 if score is None else score}
    new = {"version": 0, "checkpoint_dir_name": folder_name(step), "metrics": metrics}
    results = [*record["checkpoint_results"], new]
    record = {
        "ray_version": ray.__version__,
        "checkpoint_results": results,
        "checkpoint_report_indices": list(range(len(results))),
        "latest_checkpoint_result": new,
        "pending_training_results": [],
        "pending_validation_specs": [],
        "current_report_index": len(results),
        "validated_checkpoint_dir_names": [],
        "timed_out_validation_checkpoint_dir_names": [],
        "failed_validation_checkpoint_dir_names": [],
    }
    path.write_text(json.dumps(record))
