"""CurES: tasks drawn with a probability that rises with the deviation of their rewards."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector
from bots.selection.ranking import best, free_rows, gumbel, positive
from bots.support.arrays import Rows


class CurES(Selector):
    """Draws tasks with probabilities ∝ exp(√(p̄(1-p̄))/τ), p̄ = α/(α+β); within a batch none twice.

    Source: CurES (Zeng et al. 2025, arXiv 2510.01037): the distribution of prompts that maximises the gain of a
    gradient step with an entropy bonus τ, from the public code (github.com/ZexuSun/CurES, `EpicSampler`). The beliefs
    are counts of a task's own rollouts on a uniform prior, without forgetting. Its rollout counts are the allocation
    `cures`.

    In the public code a task's τ grows with its successes, 100·(1 + successes), which makes the draw nearly uniform;
    the sampler's own parameter, 0.1 (1.0 in one script), is not used there. Here τ is that 0.1 for every task. The
    public scripts split the data into 15 parts, train on each for ten steps, measure its pass rates at first with
    four rollouts of each task, and forget them at the end; here the whole pool is one part, a task starts at the
    prior, and its own groups are what is known of it.

    temperature: τ. replacement: whether a task may be drawn again before the others were, as in the public scripts; if
    not, the draw starts over once fewer than a batch are left, as by the default of the public class.
    """

    def __init__(self, pool: TaskPool, temperature: float = 0.1, replacement: bool = True) -> None:
        super().__init__(pool)
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement is {replacement!r}; it must be true or false")  # noqa: TRY004
        self.temperature, self.replacement = positive("temperature", temperature), replacement
        self._drawn: npt.NDArray[np.bool_] = np.zeros(len(pool), np.bool_)
        self._rounds = 0

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        rows = free_rows(beliefs, request)
        if not self.replacement:
            left = rows[~self._drawn[rows]]
            if len(left) < request.batch:
                self._drawn[rows] = False
                self._rounds += 1
                left = rows
            rows = left
        mean = beliefs.mean(rows)
        logits = np.sqrt(mean * (1 - mean)) / self.temperature
        chosen = best(rows, logits + gumbel(len(rows), rng), request.batch, rng)
        if not self.replacement:
            self._drawn[chosen] = True
        return chosen

    def grow(self, pool: TaskPool) -> None:
        """New tasks were not drawn yet."""
        self._drawn = np.append(self._drawn, np.zeros(len(pool) - len(self._drawn), np.bool_))
        super().grow(pool)

    def state_dict(self) -> dict[str, Any]:
        """Which tasks were drawn since the draw started over, and how often it did."""
        return {"drawn": np.packbits(self._drawn), "tasks": len(self._drawn), "rounds": self._rounds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Selector."""
        packed = np.array(state["drawn"], np.uint8)
        self._drawn = np.unpackbits(packed, count=int(state["tasks"])).astype(np.bool_)
        self._rounds = int(state["rounds"])

    def metrics(self) -> dict[str, float]:
        """How often the draw started over, and the share of the pool drawn since."""
        return {"rounds": float(self._rounds), "drawn": float(self._drawn.mean())}
