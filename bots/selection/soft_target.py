"""DOTS's own selection: tasks drawn with a probability that falls with their distance from the target."""

from __future__ import annotations

import numpy as np

from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector
from bots.selection.ranking import best, free_rows, gumbel, positive
from bots.support.arrays import Rows


class SoftTarget(Selector):
    """Draws tasks without replacement, with probabilities ∝ exp(-|p̄ - p*|/τ), p̄ the belief's mean.

    Source: DOTS (Sun et al. 2025, arXiv 2506.05316, section 3.2; public code
    github.com/ASTRAL-Group/data-efficient-llm-rl). p* is DOTS's α, 0.5. The name `dots_similarity` also sets evidence
    `attention` with λ = ρ = 1: p̄ is the newest prediction p̃ in the prior's terms, (1 + n·p̃)/(n + 2), which multiplies τ
    by (n + 2)/n, and for the tasks of the last batch what their own rollouts say. The public code selects two batches
    every other step; here each step selects its own. Its rollout replay, which trains on stored completions of earlier
    steps, is the learner's business and is not part of this.

    temperature: τ, 1e-3 in the public code.
    """

    def __init__(self, pool: TaskPool, temperature: float = 1e-3) -> None:
        super().__init__(pool)
        self.temperature = positive("temperature", temperature)

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        rows = free_rows(beliefs, request)
        logits = -np.abs(beliefs.mean(rows) - request.p_star) / self.temperature
        return best(rows, logits + gumbel(len(rows), rng), request.batch, rng)
