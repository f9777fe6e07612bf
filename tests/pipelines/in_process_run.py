"""A run in this process. Its own code writes every file; only engines, learner and Ray are made up.

Journal, posterior, ledger, run folder and checkpoints are the real ones, used in the order of the training loop.
"""

from __future__ import annotations

import json
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from actors.journal import Journal
from actors.posterior import PosteriorActor, write_pool
from bots.config.train import TrainConfig
from bots.rollouts.ledger import EMPTY, Ledger
from bots.rollouts.rollout import Group, Rollout, rollout_table
from pipelines.shared.preflight import RunInputs
from pipelines.shared.summary import summarise
from pipelines.training import saved
from pipelines.training.run_folder import check_folder, check_pools, create_folder, record_pools
from tests.pipelines.checkpoints import note_commit


def run(inputs: RunInputs, *, resume: bool = False) -> Path:
    """Run or resume to the last step; returns the run's folder."""
    config = inputs.config
    check_folder(config, resume=resume, overwrite=False)
    if resume:
        check_pools(config.run.path, inputs)
    folder = create_folder(config, resume=resume, overwrite=False)
    record_pools(folder, inputs)
    write_pool(inputs.train.pool, folder / "pool.arrow")
    journal = Journal.__ray_metadata__.modified_class(str(folder))
    try:
        _steps(inputs, folder, journal)
    finally:
        journal.close()
    return folder


def _steps(inputs: RunInputs, folder: Path, journal: object) -> None:
    config, pool = inputs.config, inputs.train.pool
    settings = config.selection.settings(config.rollout.samples, config.run.seed)
    posterior = PosteriorActor.__ray_metadata__.modified_class(
        str(folder / "pool.arrow"), pool.anchor_columns, settings, str(folder / "posterior")
    )
    ledger = Ledger(config.selection.tasks, 0, folder / "ledger.jsonl")
    weights = torch.zeros(8)
    done = 0
    known = saved.committed(folder)
    if known:
        newest = known[-1].folder
        weights = torch.load(newest / "learner" / "state.pt")["weights"]
        progress = pickle.loads((newest / saved.PROGRESS).read_bytes())
        done = progress["step"]
        journal.rewind(done)
        posterior.restore((newest / saved.POSTERIOR).read_bytes(), progress["selected"])
        ledger.restore(progress["ledger"])
    else:
        journal.rewind(-1)
        posterior.reset()
        ledger.restore(EMPTY)
        journal.write({"step": 0, **posterior.survey()})
    for step in range(done + 1, config.run.steps + 1):
        rows, _ = posterior.select(step, config.selection.tasks)
        ledger.select(step, rows)
        groups = [_group(config, int(row), step) for row in rows]
        for row in rows:
            key = (step, int(row))
            ledger.generate(key, step - 1)
            ledger.generated(key, step - 1)
            ledger.graded(key)
        keys = ledger.due()
        ledger.train(keys)
        journal.keep(step, rollout_table(step, pool.ids(rows), groups))
        rewards = np.stack([group.rewards for group in groups])
        lr = config.learner.lr / 1e-4
        weights = weights * 0.9 + lr * torch.from_numpy(rewards.mean(axis=1)[:8]).float()
        told = posterior.observe(step, rows, rewards)
        line = {
            "step": step,
            "policy_version": step,
            "weights": weights.sum().item(),
            "reward": rewards.mean(),
            "score": weights.sum().item(),
            "etr": float(np.mean(rewards.min(axis=1) < rewards.max(axis=1))),
            **told,
        }
        line |= {"tokens": 1, "seconds": 1.0, "dropped_groups": 0}
        if step % config.run.checkpoint_every == 0 or step == config.run.steps:
            with tempfile.TemporaryDirectory() as name:
                _prepare(Path(name), step, weights, posterior, ledger)
                journal.write(line)
                _commit(Path(name), folder, step)
        else:
            journal.write(line)
    summarise(folder, posterior.table(), 1.0)


def _prepare(temporary: Path, step: int, weights: torch.Tensor, posterior: object, ledger: Ledger) -> None:
    (temporary / "learner").mkdir()
    torch.save({"weights": weights}, temporary / "learner" / "state.pt")
    (temporary / saved.LEARNER).write_text(json.dumps({"ranks": 1, "zero_stage": 0}))
    snapshot, selected = posterior.snapshot()
    (temporary / saved.POSTERIOR).write_bytes(snapshot)
    progress = {"step": step, "selected": selected, "ledger": ledger.state(), "score": None}
    (temporary / saved.PROGRESS).write_bytes(pickle.dumps(progress))
    ledger.sync()
    saved.write_manifest(temporary, 0, [path for path in temporary.rglob("*") if path.is_file()])


def _commit(temporary: Path, folder: Path, step: int) -> None:
    """As Ray Train does it: move the files into place, then overwrite the record."""
    shutil.copytree(temporary, folder / saved.FOLDER / saved.folder_name(step), dirs_exist_ok=True)
    note_commit(folder / saved.FOLDER / saved.RECORD, step, None)


def _group(config: TrainConfig, row: int, step: int) -> Group:
    chance = np.random.default_rng((config.run.seed, step, row))
    rewards = (chance.random(config.rollout.samples) < 0.5).astype(float)
    answers = [
        Rollout(
            token_ids=np.arange(3, dtype=np.int32),
            logprobs=np.full(3, -0.1, np.float32),
            text=f"{reward:g}",
            finished=True,
            version=step - 1,
            weights="0" * 12,
        )
        for reward in rewards
    ]
    return Group(row, np.arange(2, dtype=np.int32), answers, rewards, ["" for _ in rewards])
