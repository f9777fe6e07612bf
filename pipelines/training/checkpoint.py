"""One checkpoint holds the learner's shards, the posterior and the tasks under way; Ray Train commits it as a whole."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import ray
import ray.train

if TYPE_CHECKING:
    from actors.learner import Learner
    from pipelines.training.actors import Crew

POSTERIOR = "posterior.arrow"
PROGRESS = "progress.pkl"


def save(learner: Learner, crew: Crew | None, step: int, score: float | None) -> None:
    """Write a checkpoint after `step`. All ranks call it; the one with the crew adds what the actors hold.

    score: the last evaluation's, in [0, 1], for `run.keep_best`; None before the first. Tasks under way are kept
    by name: a restored run answers them anew. Ray Train writes its record of the checkpoint last, when all ranks'
    files are in place.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        learner.save(folder)
        if crew:
            snapshot, selected, ledger = ray.get(crew.coordinator.checkpoint.remote())
            (folder / POSTERIOR).write_bytes(snapshot)
            progress = {"step": step, "selected": selected, "ledger": ledger}
            (folder / PROGRESS).write_bytes(pickle.dumps(progress))
        ray.train.report(
            # Below every score. Ray Train's record turns what is not finite into null, which it cannot order.
            {"step": step, "score": -1.0 if score is None else score},
            checkpoint=ray.train.Checkpoint.from_directory(name),
            checkpoint_dir_name=f"step_{step:06d}",
        )


def restore(learner: Learner, crew: Crew | None) -> int:
    """Go back to the newest committed checkpoint; returns its step, 0 if there is none.

    Posterior, journal and coordinator go back with the learner, to the very same step: what they did after it
    is undone, whether this process died, or a rank, or the coordinator.
    """
    newest = ray.train.get_checkpoint()
    if newest is None:
        if crew:
            ray.get(
                [
                    crew.journal.rewind.remote(-1),
                    crew.coordinator.restore.remote(None, crew.partners, *crew.pools),
                ]
            )
        return 0
    with newest.as_directory() as name:
        folder = Path(name)
        learner.load(folder)
        progress = pickle.loads((folder / PROGRESS).read_bytes())
        if crew:
            held = (folder / POSTERIOR).read_bytes(), progress["selected"], progress["ledger"]
            rewound = crew.journal.rewind.remote(progress["step"])
            ray.get([rewound, crew.coordinator.restore.remote(held, crew.partners, *crew.pools)])
    return int(progress["step"])
