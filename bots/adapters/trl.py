"""TRL: `GRPOTrainer` and `RLOOTrainer` on the tasks that BOTS selects, and a mixin for a trainer of your own.

TRL's sampler stays as it is and sets the pace; its rows are exchanged for the selected ones at the moment at which
completions are generated. A sampler that selects would be a batch or more behind, since Accelerate fetches ahead of
training, and it would be run through from the start on every resume.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bots.adapters.peers import require, require_hooks

VERSION = require("trl", "1.16", "2", extra="trl")

import datasets
import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils import broadcast_object_list
from torch.distributed import is_initialized
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer, RLOOTrainer

from bots.adapters.curriculum import Curriculum
from bots.adapters.scale import ROUNDING
from bots.core import BOTS
from bots.pool import PoolError, TaskPool
from bots.support.arrays import Float64, Rows
from bots.support.row_digest import row_digests

if TYPE_CHECKING:
    _Trainer = GRPOTrainer
else:
    _Trainer = object

FOLDER = "bots"
HOOKS = (
    "_generate_and_score_completions",
    "_calculate_rewards",
    "_save_checkpoint",
    "_load_optimizer_and_scheduler",
    "_get_output_dir",
)

Combine = Callable[[Float64], npt.ArrayLike]
"""From the rewards of all functions, (N, functions), NaN where one gave None, to one for each completion, (N,)."""


class BOTSMixin(_Trainer):  # type: ignore[valid-type,misc]
    """Put before a trainer that is a GRPOTrainer or an RLOOTrainer: `class Mine(BOTSMixin, MyGRPOTrainer)`.

    bots: the posterior. `rollouts` is `num_generations`, and the pool `TaskPool.from_dataset(train_dataset)`.
    bots_rewards: what BOTS sees. None: the sum weighted by `reward_weights`, scaled to [0, 1] for functions that give
        [0, 1] each; a function that gives None does not count. (low, high): the weighted sum, which is in this range.
        A function: see `Combine`; what it returns is in [0, 1].
    bots_resume: whether a checkpoint brings its posterior. False: resume with `bots` as it is, e.g. from a checkpoint
        of a run without BOTS.

    In a run of several processes the first one selects and learns; in the others `bots` stays as it was made.
    """

    def __init__(
        self,
        *args: Any,
        bots: BOTS,
        bots_rewards: tuple[float, float] | Combine | None = None,
        bots_resume: bool = True,
        **kwargs: Any,
    ) -> None:
        require_hooks(type(self), BOTSMixin, HOOKS, f"GRPOTrainer and RLOOTrainer of TRL 1.16, not {VERSION}")
        self.curriculum = Curriculum(bots)
        # Before a model is loaded.
        given = signature(super().__init__).bind_partial(*args, **kwargs).arguments
        self._tasks = _rows_in(given.get("train_dataset"), bots.pool)
        super().__init__(*args, **kwargs)
        self.bots_resume = bots_resume
        self._bots_rewards = bots_rewards
        self._wave: tuple[int, Rows] | None = None
        if bots.settings["rollouts"] != self.num_generations:
            raise ValueError(
                f"bots has rollouts={bots.settings['rollouts']}, and the trainer num_generations="
                f"{self.num_generations}; make it BOTS(pool, rollouts={self.num_generations})"
            )
        if self._per_wave > len(bots.pool):
            raise ValueError(
                f"one generation takes {self._per_wave} tasks (generation_batch_size {self.args.generation_batch_size} "
                f"/ num_generations {self.num_generations}), and the data set has {len(bots.pool)}"
            )

    @property
    def _per_wave(self) -> int:
        return int(self.args.generation_batch_size // self.num_generations)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Any:
        if self.model.training:
            inputs = self._selected(len(inputs))
        return super()._generate_and_score_completions(inputs)

    def _selected(self, share: int) -> list[dict[str, Any]]:
        """This process's `share` of the next wave, each task `num_generations` times in a row, as TRL wants it."""
        self._wave = self._agree(lambda: _as_pair(self.curriculum, self._per_wave))
        rows = self._tasks[np.repeat(self._wave[1], self.num_generations)]
        first = self.accelerator.process_index * share
        dataset = self._remove_unused_columns(self.train_dataset, description="Training")
        examples: dict[int, dict[str, Any]] = {}
        for row in rows[first : first + share].tolist():
            if row not in examples:
                examples[row] = dataset[row]
        return [dict(examples[row]) for row in rows[first : first + share].tolist()]

    def _agree(self, decide: Callable[[], Any]) -> Any:
        """What the first process decides, in every process; also its error, so that none waits for it."""
        said: list[Any] = [None, None]
        if self.accelerator.is_main_process:
            try:
                said[0] = decide()
            except Exception as error:
                if not is_initialized():
                    raise
                said[1] = f"{type(error).__name__}: {error}"
        if is_initialized():
            broadcast_object_list(said, from_process=0)
        if said[1] is not None:
            raise RuntimeError(f"the first process failed: {said[1]}")
        return said[0]

    def _calculate_rewards(self, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        rewards: torch.Tensor = super()._calculate_rewards(inputs, *args, **kwargs)
        if self.model.training and self._wave is not None:
            number, rows = self._wave
            self._wave = None
            # Every process has the rewards of all, and finds the same fault in them.
            seen = self._seen(rewards.detach().double().cpu().numpy())
            self._agree(lambda: self._learn(np.repeat(rows, self.num_generations), seen, number))
        return rewards

    def _learn(self, rows: Rows, rewards: Float64, number: int) -> None:
        self.curriculum.observe(rows, rewards, number)
        # A group without any graded completion is complete, and no evidence.
        for name, value in self.curriculum.metrics().items():
            self._metrics["train"][f"bots/{name}"].append(value)

    def _seen(self, rewards: Float64) -> Float64:
        """What BOTS gets for the rewards (N, functions): (N,) in [0, 1], NaN where every function gave None."""
        given = self._bots_rewards
        if callable(given):
            return np.asarray(given(rewards), np.float64)
        weights = self.reward_weights.double().cpu().numpy()
        counted = ~np.isnan(rewards)
        total = np.nansum(rewards * weights, axis=1)
        if given is not None:
            low, high = np.full(len(rewards), given[0]), np.full(len(rewards), given[1])
            outside = (total < low - ROUNDING) | (total > high + ROUNDING)
        else:
            low = (counted * np.minimum(weights, 0)).sum(axis=1)
            high = (counted * np.maximum(weights, 0)).sum(axis=1)
            outside = (counted & ((rewards < -ROUNDING) | (rewards > 1 + ROUNDING))).any(axis=1)
        if outside.any():
            at = int(np.argmax(outside))
            known = dict(zip(self.reward_func_names, rewards[at].tolist(), strict=True))
            raise ValueError(
                f"rewards {known} are outside {given or '[0, 1]'}; BOTS needs numbers in [0, 1]: give bots_rewards="
                "(lowest, highest weighted sum), or a function of the rewards (N, functions)"
            )
        span = np.where(high > low, high - low, 1)
        return np.where(counted.any(axis=1), np.clip((total - low) / span, 0, 1), np.nan)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Before the rest: a checkpoint that has its trainer_state.json has its posterior.
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        folder = Path(self._get_output_dir(trial=trial)) / name / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        if self.accelerator.is_main_process:
            self.curriculum.save(folder)
        # Completions that later steps still train on: TRL itself would generate others after a resume.
        state = {"step": self._step, "processes": self.accelerator.num_processes, "buffer": None}
        if self._step % (self.args.steps_per_generation * self.num_iterations):
            state["buffer"] = self._buffered_inputs
        torch.save(state, folder / self._buffer_name)
        super()._save_checkpoint(model, trial)

    @property
    def _buffer_name(self) -> str:
        return f"completions_{self.accelerator.process_index}.pt"

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None or not self.bots_resume:
            return
        folder = Path(checkpoint) / FOLDER
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{checkpoint} has no folder {FOLDER!r}: it was saved without BOTS. bots_resume=False resumes it with "
                "the posterior as it is"
            )
        self._agree(lambda: self.curriculum.load(folder))
        file = folder / self._buffer_name
        state = torch.load(file, weights_only=True) if file.is_file() else {"processes": None}
        # Another number of processes divides a wave in another way: then a new one is generated, as TRL does.
        if state["processes"] == self.accelerator.num_processes:
            self._step, self._buffered_inputs = state["step"], _to(state["buffer"], self.accelerator.device)


class BOTSGRPOTrainer(BOTSMixin, GRPOTrainer):
    """`trl.GRPOTrainer` on the tasks that BOTS selects; see BOTSMixin for what it takes beside TRL's arguments."""


class BOTSRLOOTrainer(BOTSMixin, RLOOTrainer):
    """`trl.RLOOTrainer` on the tasks that BOTS selects; see BOTSMixin for what it takes beside TRL's arguments."""


def _as_pair(curriculum: Curriculum, tasks: int) -> tuple[int, Rows]:
    wave = curriculum.select(tasks)
    return wave.number, wave.rows


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: _to(item, device) for name, item in value.items()}
    return [_to(item, device) for item in value] if isinstance(value, list) else value


def _rows_in(dataset: Any, pool: TaskPool) -> Rows:
    """The row of the data set for each row of the pool, int64 (K,): by `id`, or the same one where there are no ids.

    Raises PoolError where the data set is not the pool's.
    """
    if not isinstance(dataset, datasets.Dataset):
        TaskPool.from_dataset(dataset)  # says why not
    if "id" in dataset.column_names:
        row_of = {str(name): row for row, name in enumerate(dataset["id"])}
        missing = [name for name in pool.ids() if name not in row_of]
        if missing:
            raise PoolError(
                f"train_dataset lacks {len(missing)} tasks of the pool, the first of them {missing[0]!r}"
            )
        rows = np.array([row_of[name] for name in pool.ids()], np.int64)
    elif len(dataset) == len(pool):
        rows = np.arange(len(pool), dtype=np.int64)
    else:
        raise PoolError(
            f"train_dataset has {len(dataset)} rows, and the pool {len(pool)} tasks; make the pool by "
            "TaskPool.from_dataset(train_dataset), or give both a column `id`"
        )
    _check_same_tasks(dataset, rows, pool)
    return rows


def _check_same_tasks(dataset: Any, rows: Rows, pool: TaskPool) -> None:
    """Raise PoolError where the answers differ from the pool's, or the prompts where there are no answers.

    With answers, prompts may differ: one of the two may have a template applied.
    """
    for name in ("answer", "prompt"):
        if name not in dataset.column_names or name not in pool.table.column_names:
            continue
        theirs = dataset.select_columns([name]).with_format("arrow")[:]
        if theirs.schema.field(name).type != pool.table.schema.field(name).type:
            continue
        other = row_digests(theirs)[rows] != row_digests(pool.table.select([name]))
        if other.any():
            row = int(np.argmax(other))
            raise PoolError(
                f"train_dataset has another {name} than the pool in {int(other.sum())} rows, the first of them task "
                f"{pool.ids([row])[0]!r}: it has changed since the pool was made, or its order has; make the pool "
                "by TaskPool.from_dataset(train_dataset)"
            )
        return
