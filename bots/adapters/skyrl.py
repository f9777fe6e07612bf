"""SkyRL: a mixin for its trainers.

class MyExp(BasePPOExp):
    def get_trainer(self, **parts): return BOTSTrainer(bots=bots, **parts)
"""

from __future__ import annotations

from typing import Any

from bots.adapters.curriculum import Curriculum
from bots.adapters.loader import SelectingLoader
from bots.adapters.peers import require_hooks
from bots.adapters.scale import Scale
from bots.core import BOTS

HOOKS = ("_build_train_dataloader_and_compute_training_steps", "generate")


class BOTSMixin:
    """Put before SkyRL's RayPPOTrainer: `class BOTSTrainer(BOTSMixin, RayPPOTrainer)`.

    bots: the posterior over the rows of `train_dataset`, in its order; `rollouts` is `n_samples_per_prompt`.
    scale: see `bots.adapters.scale`.
    The posterior is saved with the state of the data loader, in `data.pt`.
    """

    def __init__(self, *args: Any, bots: BOTS, scale: Scale = None, **kwargs: Any) -> None:
        require_hooks(type(self), BOTSMixin, HOOKS, "RayPPOTrainer of SkyRL 0.3 and 0.4")
        self._bots, self._scale = bots, scale
        super().__init__(*args, **kwargs)

    def _build_train_dataloader_and_compute_training_steps(self) -> None:
        here: Any = self
        super()._build_train_dataloader_and_compute_training_steps()  # type: ignore[misc]
        if here.train_dataloader is None:
            return
        batch = here.cfg.trainer.train_batch_size
        self.curriculum = Curriculum(self._bots, scale=self._scale, wave=batch)
        dataset, length = here.train_dataset, len(here.train_dataloader)
        here.train_dataloader = SelectingLoader(dataset, self.curriculum, batch, dataset.collate_fn, length)

    async def generate(self, input_batch: Any) -> Any:
        """SkyRL's, and what it shows about the tasks. Before any filter drops a group."""
        here: Any = self
        output = await super().generate(input_batch)  # type: ignore[misc]
        metadata = input_batch.get("batch_metadata")
        if metadata is not None and metadata.training_phase == "train":
            rows, rewards = rewards_of(output, input_batch.get("trajectory_ids"))
            self.curriculum.observe(rows, rewards, complete=True)
            here.all_metrics.update(
                {f"bots/{name}": value for name, value in self.curriculum.metrics().items()}
            )
        return output


def rewards_of(output: Any, asked: Any = None) -> tuple[list[int], list[float]]:
    """Row and reward of each trajectory; rewards by token are added up, and of several steps the last one counts.

    asked: ids of the trajectories that were requested. An output without ids of its own is in their order: SkyRL's has
    ids only if it is by steps.
    """
    rows, rewards = [], []
    ids = output.get("trajectory_ids")
    last = output.get("is_last_step") or [True] * len(output["rewards"])
    for of, reward, counts in zip(asked if ids is None else ids, output["rewards"], last, strict=True):
        if counts:
            rows.append(int(of.instance_id))
            rewards.append(float(sum(reward)) if isinstance(reward, list) else float(reward))
    return rows, rewards
