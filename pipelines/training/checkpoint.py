"""One checkpoint holds the learner's shards, the posterior and the tasks under way; Ray Train commits it as a whole."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import ray
import ray.train

from pipelines.training.saved import POSTERIOR, PROGRESS, folder_name, write_manifest

if TYPE_CHECKING:
    from actors.learner import Learner
    from pipelines.training.actors import Crew


@contextmanager
def prepared(learner: Learner, crew: Crew | None, step: int, score: float | None) -> Iterator[Path]:
    """A temporary folder with this rank's part of a checkpoint after `step`. All ranks call it.

    The rank with the crew adds what the actors hold, and waits until the step's rollouts and ledger are on disk. Tasks
    under way are kept by name: a restored run answers them again. score: the last evaluation's, in [0, 1]; None before
    the first.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        learner.save(folder)
        if crew:
            snapshot, selected, ledger = ray.get(crew.coordinator.checkpoint.remote())
            (folder / POSTERIOR).write_bytes(snapshot)
            progress = {"step": step, "selected": selected, "ledger": ledger, "score": score}
            (folder / PROGRESS).write_bytes(pickle.dumps(progress))
        write_manifest(folder, learner.rank)
        yield folder


def commit(folder: Path, step: int, score: float | None) -> None:
    """Hand a prepared checkpoint to Ray Train. All ranks call it.

    Ray Train writes its record of the checkpoint last, when all ranks' files are in place. What the record must not
    run ahead of (the step's line in the metrics) is to be on disk before this is called.
    """
    ray.train.report(
        # Below every score. Ray Train's record turns what is not finite into null, which it cannot order.
        {"step": step, "score": -1.0 if score is None else score},
        checkpoint=ray.train.Checkpoint.from_directory(str(folder)),
        checkpoint_dir_name=folder_name(step),
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
