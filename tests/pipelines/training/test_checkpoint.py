"""Checkpoints with a real Ray Train: written while later steps run, and used only once they are whole."""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from actors.environment import learner_environment
from pipelines.training import saved
from pipelines.training.checkpoint import Checkpoints, commit, restore


class Snapshot:
    """A learner's part of a checkpoint. While `hold` exists, its write stops halfway."""

    def __init__(self, folder, value, hold):
        self.folder, self.value, self.hold = folder, value, hold

    def write(self):
        state, note = self.folder / "learner" / "state.pt", self.folder / saved.LEARNER
        state.parent.mkdir(exist_ok=True)
        state.write_bytes(b"half")
        while self.hold.exists():
            time.sleep(0.05)
        torch.save({"weights": self.value}, state)
        note.write_text(json.dumps({"ranks": 1, "zero_stage": 0}))
        return [state, note]


class Learner:
    """One weight, which is the number of its steps."""

    rank = 0

    def __init__(self, hold):
        self.weight, self.hold = torch.zeros(1), hold

    def snapshot(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        return Snapshot(folder, self.weight.clone(), self.hold)

    def load(self, folder):
        self.weight = torch.load(folder / "learner" / "state.pt")["weights"]


def handles():
    """Actors with nothing to save or restore."""

    def call(value=None):
        return SimpleNamespace(remote=lambda *_: ray.put(value))

    coordinator = SimpleNamespace(checkpoint=call((b"beliefs", {}, {})), restore=call())
    return SimpleNamespace(
        coordinator=coordinator, journal=SimpleNamespace(rewind=call()), partners=None, pools=()
    )


def wait_for(there):
    until = time.monotonic() + 60
    while not there():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.05)


def loop(settings):
    """In its first life the process dies at step 3, amid the writing of step 2's checkpoint."""
    marks = Path(settings["marks"])
    half = marks / "run/checkpoints/step_000002/learner/state.pt"
    hold, record = marks / "hold", marks / "run/checkpoints" / saved.RECORD
    learner = Learner(hold)
    done = restore(learner, handles())
    (marks / f"from_{done}").touch()
    if done:
        assert not half.parent.parent.exists()
        hold.unlink()
    checkpoints = Checkpoints(learner, handles())
    for step in range(done + 1, 5):
        learner.weight += 1
        if done == 0 and step == 3:
            # Step 3 trains, although the checkpoint of step 2 is only half there.
            wait_for(lambda: half.is_file() and half.read_bytes() == b"half")
            (marks / "trained_meanwhile").touch()
            os._exit(1)
        commit(checkpoints.take(step, None))
        if done == 0 and step == 1:
            wait_for(lambda: record.is_file() and "step_000001" in record.read_text())
            hold.touch()


def fit(function, marks, failures):
    """Run a loop on one rank of a real Ray Train; its checkpoints are those of the run `run`."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    TorchTrainer(
        function,
        train_loop_config={"marks": str(marks)},
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.5}),
        torch_config=TorchConfig(backend="gloo"),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(marks / "run"),
            failure_config=FailureConfig(max_failures=failures),
            worker_runtime_env={"env_vars": learner_environment(1, False)},
        ),
    ).fit()


def test_a_step_does_not_wait_for_the_checkpoint_and_a_half_one_is_not_used(cluster, tmp_path):
    fit(loop, tmp_path, failures=1)
    assert (tmp_path / "trained_meanwhile").exists()
    assert {path.name for path in tmp_path.glob("from_*")} == {"from_0", "from_1"}
    whole = saved.committed(tmp_path / "run")
    assert [one.step for one in whole] == [1, 2, 3, 4]
    assert [one.fault() for one in whole] == [None] * 4
    # As in a run that never died.
    assert [torch.load(one.folder / "learner/state.pt")["weights"].item() for one in whole] == [1, 2, 3, 4]


def failing(settings):
    marks = Path(settings["marks"])
    learner = Learner(marks / "hold")
    checkpoints = Checkpoints(learner, handles())
    part = checkpoints.take(1, None)
    part.folder.joinpath("learner").touch()  # where a folder must be: the write fails
    commit(part)
    checkpoints.take(2, None)
    (marks / "went_on").touch()


def test_a_checkpoint_that_cannot_be_written_ends_the_run_by_its_error(cluster, tmp_path):
    with pytest.raises(Exception, match="FileExistsError"):
        fit(failing, tmp_path, failures=0)
    assert not (tmp_path / "went_on").exists()
    assert saved.committed(tmp_path / "run") == []
