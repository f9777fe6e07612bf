"""verl: a mixin for its trainers, and `BOTSTrainerSync`, which takes the place of `trainer_mode: sync`.

`bots.adapters.verl_sync` puts it there; docs/adapters.md has the command line.
"""

from __future__ import annotations

from typing import Any

from bots.adapters.peers import require, require_hooks

VERSION = require("verl", "0.9", "0.10", extra="verl")

from bots.adapters.curriculum import Curriculum
from bots.adapters.loader import SelectingLoader
from bots.core import BOTS
from bots.pool import TaskPool

HOOKS = ("_init_dataloader", "_fetch_one_gen_batch", "_compute_advantage")


class BOTSMixin:
    """Put before a PPOTrainer of `verl.trainer.ppo.v1`.

    Its configuration has a section `bots`: settings of BOTS, and `weak`, `strong`, `level`, which name columns of the
    training file, and `scale`, [lowest, highest reward]. The posterior is saved in `data.pt`, with the data loader.
    """

    def _init_dataloader(self) -> None:
        require_hooks(
            type(self), BOTSMixin, HOOKS, f"PPOTrainer of verl.trainer.ppo.v1 of verl 0.9, not {VERSION}"
        )
        super()._init_dataloader()  # type: ignore[misc]
        here: Any = self
        filters = here.config.algorithm.get("filter_groups", None)
        if filters is not None and filters.get("enable", False):
            raise ValueError(
                "algorithm.filter_groups drops groups before BOTS sees them; turn it off: BOTS avoids such groups"
            )
        options = dict(here.config.get("bots", None) or {})
        names = {name: options.pop(name, None) for name in ("weak", "strong", "level")}
        scale = options.pop("scale", None)
        pool = TaskPool.from_dataset(here.train_dataset.dataframe, **names)
        bots = BOTS(pool, **{"rollouts": here.config.actor_rollout_ref.rollout.n} | options)
        wave = here.config.data.train_batch_size
        self.curriculum = Curriculum(bots, scale=None if scale is None else (scale[0], scale[1]), wave=wave)
        old = here.train_dataloader
        here.train_dataloader = SelectingLoader(
            here.train_dataset, self.curriculum, old.batch_size, old.collate_fn, len(old)
        )
        self._tasks: dict[str, tuple[int, int]] = {}

    def _fetch_one_gen_batch(self) -> Any:
        here: Any = self
        batch = super()._fetch_one_gen_batch()  # type: ignore[misc]
        uids = [str(uid) for uid in _plain(batch["uid"])]
        self._tasks.update(zip(uids, here.train_dataloader.drawn, strict=True))
        return batch

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        import transfer_queue as tq

        chosen = ["uid", "rm_scores"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=chosen)
        padding = [tag.get("is_padding", False) for tag in batch.tags]
        scores = [float(score.sum()) for score in data["rm_scores"].unbind()]
        waves: dict[int, tuple[list[int], list[float]]] = {}
        for uid, score, padded in zip(_plain(data["uid"]), scores, padding, strict=True):
            if not padded and str(uid) in self._tasks:
                wave, row = self._tasks[str(uid)]
                rows, rewards = waves.setdefault(wave, ([], []))
                rows.append(row)
                rewards.append(score)
        for wave, (rows, rewards) in sorted(waves.items()):
            self.curriculum.observe(rows, rewards, wave)
        metrics.update({f"bots/{name}": value for name, value in self.curriculum.metrics().items()})
        flying = set(self.curriculum.in_flight().tolist())
        self._tasks = {uid: task for uid, task in self._tasks.items() if task[1] in flying}
        return super()._compute_advantage(batch, metrics)  # type: ignore[misc]


def _plain(values: Any) -> list[Any]:
    found: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return found


def install() -> None:
    """Let `trainer_mode: sync` mean BOTSTrainerSync; verl has no other way to add BOTS and keep that mode's rules."""
    from verl.trainer.ppo.v1 import trainer_base, trainer_sync

    if not issubclass(trainer_base.TRAINER_REGISTRY["sync"], BOTSMixin):
        trainer = type("BOTSTrainerSync", (BOTSMixin, trainer_sync.PPOTrainerSync), {"__module__": __name__})
        trainer_base.TRAINER_REGISTRY["sync"] = trainer
