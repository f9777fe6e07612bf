"""Checkpoints: learner shards, posterior and tasks in progress, committed by Ray Train as one unit.

A checkpoint is copied to host memory between two steps, and written straight into the run's folder while the next steps
run. Until Ray Train has recorded it, a resume uses the one before.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train

from pipelines.training.saved import POSTERIOR, PROGRESS, folder_name, leftovers, write_manifest

if TYPE_CHECKING:
    from actors.learner import Learner
    from pipelines.training.actors import ActorHandles


@dataclass(frozen=True)
class Part:
    """A rank's part of the checkpoint after `step`, in host memory. `write` puts it into its folder."""

    step: int
    score: float | None
    folder: Path
    write: Callable[[], None]
    written: Future[None] = field(default_factory=Future)


class Checkpoints:
    """A rank's checkpoints, of which at most one is being written."""

    def __init__(self, learner: Learner, handles: ActorHandles | None) -> None:
        self._learner, self._handles = learner, handles
        self._last: Part | None = None

    def take(self, step: int, score: float | None) -> Part:
        """Copy this rank's part of a checkpoint after `step`. All ranks call it.

        The rank with handles adds the actors' state and waits until the step's rollouts and ledger are on disk. Of
        tasks in progress only the row numbers are kept: a restored run generates them again. score: the last
        evaluation's, in [0, 1]; None before the first.
        Waits for the checkpoint before, if it is still being written, and raises the error that ended that.
        """
        if self._last is not None:
            self._last.written.result()
        learner, handles = self._learner, self._handles
        folder = _storage() / folder_name(step)
        snapshot = learner.snapshot(folder)
        state: dict[str, bytes] = {}
        if handles:
            posterior, selected, ledger = ray.get(handles.coordinator.checkpoint.remote())
            progress = {"step": step, "selected": selected, "ledger": ledger, "score": score}
            state = {POSTERIOR: posterior, PROGRESS: pickle.dumps(progress)}

        def write() -> None:
            files = snapshot.write()
            for name, content in state.items():
                (folder / name).write_bytes(content)
                files.append(folder / name)
            write_manifest(folder, learner.rank, files)

        self._last = Part(step, score, folder, write)
        return self._last


def commit(part: Part) -> None:
    """Have Ray Train write a part and record the checkpoint; returns at once. All ranks call it.

    Ray Train writes its record of the checkpoint last, when the files of all ranks are in place. Anything the record
    must not be ahead of, such as the step's line in the metrics, must be on disk before this call. An error while
    writing ends the rank, as an error of its own does.
    """
    here = ray.train.Checkpoint(str(part.folder), filesystem=_filesystem())

    def write(_: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
        try:
            part.write()
        except BaseException as error:
            part.written.set_exception(error)
            raise
        part.written.set_result(None)
        return here

    ray.train.report(
        # -1 ranks below every score. Ray Train writes non-finite numbers as null, which it cannot order.
        {"step": part.step, "score": -1.0 if part.score is None else part.score},
        checkpoint=here,
        checkpoint_dir_name=folder_name(part.step),
        checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC,
        checkpoint_upload_fn=write,
        delete_local_checkpoint_after_upload=False,
    )


def _storage() -> Path:
    """The folder of the run's checkpoints, which all nodes share."""
    return Path(ray.train.get_context().get_storage().experiment_fs_path)


def _filesystem() -> Any:
    return ray.train.get_context().get_storage().storage_filesystem


def restore(learner: Learner, handles: ActorHandles | None) -> int:
    """Restore the newest committed checkpoint; returns its step, or 0 if there is none.

    Posterior, journal and coordinator go back to the same step as the learner, no matter whether the driver, a rank or
    the coordinator died: whatever they did after that step is undone. A checkpoint that was being written is removed.
    """
    newest = ray.train.get_checkpoint()
    if handles:
        for unfinished in leftovers(_storage().parent):
            shutil.rmtree(unfinished.folder)
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
