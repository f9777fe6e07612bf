"""Trinity-RFT: a selector, named by its path in the configuration of a taskset.

    data_selector:
      selector_type: bots.adapters.trinity.BOTSSelector
      feature_keys: [weak, strong]
      kwargs: {rollouts: 16}

and the operator that reports mean rewards, `pass_rate_calculator`, in the experience pipeline.
"""

from __future__ import annotations

from typing import Any

from bots.adapters.peers import require

VERSION = require("trinity-rft", "0.6", "0.7", extra="trinity")

import numpy as np
from trinity.buffer.selector import BaseSelector

from bots.adapters.curriculum import Curriculum
from bots.core import BOTS
from bots.pool import TaskPool


class BOTSSelector(BaseSelector):
    """Trinity's `BaseSelector` with the posterior of BOTS, which stays in the explorer's checkpoints.

    data_source: its `dataset` is the pool. config: `feature_keys` names the columns of the pass rates of a weak and a
    strong model, or none; `seed`; `kwargs`: `rollouts`, required, the `repeat_times` of the taskset; `level`, a column;
    `scale`, [lowest, highest mean reward]; all others are of BOTS.

    Trinity reports the mean of a group. Where it is a whole number of n-ths, as for rewards of 0 and 1, the group is
    known exactly; else every rollout counts as the mean, which the effective task ratio takes for a constant group.
    """

    def __init__(self, data_source: Any, config: Any) -> None:
        super().__init__(data_source, config)
        options = dict(config.kwargs or {})
        keys = list(config.feature_keys or [])
        if len(keys) not in (0, 2):
            raise ValueError(
                f"feature_keys is {keys}; it names the weak and the strong pass rates, or nothing"
            )
        if "rollouts" not in options:
            raise ValueError("data_selector.kwargs has no rollouts; give the taskset's repeat_times")
        weak, strong = keys or (None, None)
        pool = TaskPool.from_dataset(data_source.dataset, weak, strong, level=options.pop("level", None))
        scale = options.pop("scale", None)
        bots = BOTS(pool, seed=config.seed, **options)
        self.curriculum = Curriculum(bots, scale=None if scale is None else (scale[0], scale[1]))

    def get_indices(self, batch_size: int, return_extra_info: bool = False) -> Any:
        """The rows of the next wave; with return_extra_info also what BOTS believes of them."""
        rows = self.curriculum.select(batch_size).rows
        if not return_extra_info:
            return rows.tolist()
        return rows.tolist(), {
            "indices": rows.tolist(),
            "point": self.curriculum.bots.predict_mean(rows).tolist(),
        }

    def feedback(self, indices: list[int], values: list[float]) -> None:
        """Learn from the groups' mean rewards."""
        n = int(self.curriculum.bots.settings["rollouts"])
        rows = np.repeat(np.asarray(indices, np.int64), n)
        rewards = np.array([_group(mean, n) for mean in values], np.float64).reshape(-1)
        self.curriculum.observe(rows, rewards, complete=True)

    def state_dict(self) -> dict[str, Any]:
        """The posterior and what is in flight."""
        return {"bots": self.curriculum.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; Trinity calls it with an index of 0 where there is no checkpoint."""
        if "bots" in state_dict:
            self.curriculum.load_state_dict(state_dict["bots"])
        elif state_dict.get("current_index", 0) != 0:
            raise ValueError(f"the checkpoint is of another selector and holds no posterior: {state_dict}")


def _group(mean: float, n: int) -> list[float]:
    """n rewards with this mean: ones and zeros where they can have it."""
    ones = round(mean * n)
    if 0 <= ones <= n and abs(mean * n - ones) < 1e-6:
        return [1.0] * ones + [0.0] * (n - ones)
    return [mean] * n
