"""Checkpoints: learner shards, posterior and tasks in progress, committed by Ray Train as one unit."""

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
    from pipelines.training.actors import ActorHandles


@contextmanager
def prepared(
    learner: Learner, handles: ActorHandles | None, step: int, score: float | None
) -> Iterator[Path]:
    """A temporary folder with this rank's part of a checkpoint after `step`. All ranks call it.

    The rank with `handles` adds the actors' state and waits until the step's rollouts and ledger are on disk. Of tasks
    in progress only the row numbers are kept: a restored run generates them again. score: the last evaluation's, in
    [0, 1]; None before the first.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        learner.save(folder)
        if handles:
            snapshot, selected, ledger = ray.get(handles.coordinator.checkpoint.remote())
            (folder / POSTERIOR).write_bytes(snapshot)
            progress = {"step": step, "selected": selected, "ledger": ledger, "score": score}
            (folder / PROGRESS).write_bytes(pickle.dumps(progress))
        write_manifest(folder, learner.rank)
        yield folder


def commit(folder: Path, step: int, score: float | None) -> None:
    """Pass a prepared checkpoint to Ray Train. All ranks call it.

    Ray Train writes its record of the checkpoint last, when the files of all ranks are in place. Anything the record
    must not be ahead of, such as the step's line in the metrics, must be on disk before this call.
    """
    ray.train.report(
        # -1 ranks below every score. Ray Train writes non-finite numbers as null, which it cannot order.
        {"step": step, "score": -1.0 if score is None else score},
        checkpoint=ray.train.Checkpoint.from_directory(str(folder)),
        checkpoint_dir_name=folder_name(step),
    )


def restore(learner: Learner, handles: ActorHandles | None) -> int:
    """Restore the newest committed checkpoint; returns its step, or 0 if there is none.

    Posterior, journal and coordinator go back to the same step as the learner, no matter whether the driver, a rank or
    the coordinator died: whatever they did after that step is undone.
    """
    newest = ray.train.get_checkpoint()
    if newest is None:
        if handles:
            ray.get(
                [
                    handles.journal.rewind.remote(-1),
                    handles.coordinator.restore.remote(None, handles.partners, *handles.pools),
                ]
            )
        return 0
    with newest.as_directory() as name:
        folder = Path(name)
        learner.load(folder)
        progress = pickle.loads((folder / PROGRESS).read_bytes())
        if handles:
            state = (folder / POSTERIOR).read_bytes(), progress["selected"], progress["ledger"]
            rewound = handles.journal.rewind.remote(progress["step"])
            ray.get([rewound, handles.coordinator.restore.remote(state, handles.partners, *handles.pools)])
    return int(progress["step"])
