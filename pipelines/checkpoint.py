"""One checkpoint holds the learner's shards and the posterior, and Ray Train commits it as a whole."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import ray
import ray.train

from pipelines.crew import Crew

if TYPE_CHECKING:
    from actors.learner import Learner

POSTERIOR = "posterior.arrow"
PROGRESS = "progress.pkl"


def save(learner: Learner, crew: Crew | None, step: int) -> None:
    """Write a checkpoint after `step`. All ranks call it; the one with the crew adds the posterior."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        learner.save(folder)
        if crew:
            snapshot, selected = ray.get(crew.posterior.snapshot.remote())
            (folder / POSTERIOR).write_bytes(snapshot)
            (folder / PROGRESS).write_bytes(pickle.dumps({"step": step, "selected": selected}))
        ray.train.report(
            {"step": step},
            checkpoint=ray.train.Checkpoint.from_directory(name),
            checkpoint_dir_name=f"step_{step:06d}",
        )


def restore(learner: Learner, crew: Crew | None) -> int:
    """Go back to the newest committed checkpoint; returns its step, 0 if there is none."""
    newest = ray.train.get_checkpoint()
    if newest is None:
        if crew:
            ray.get(crew.journal.rewind.remote(-1))
        return 0
    with newest.as_directory() as name:
        folder = Path(name)
        learner.load(folder)
        progress = pickle.loads((folder / PROGRESS).read_bytes())
        if crew:
            ray.get(crew.posterior.restore.remote((folder / POSTERIOR).read_bytes(), progress["selected"]))
            ray.get(crew.journal.rewind.remote(progress["step"]))
    return int(progress["step"])
