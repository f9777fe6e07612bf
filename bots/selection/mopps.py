"""MoPPS's own form: Thompson sampling among candidates drawn at random."""

from __future__ import annotations

import numpy as np

from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector
from bots.selection.ranking import best, checked_candidates, free_rows
from bots.support.arrays import Rows


class MoPPS(Selector):
    """Draws θ ~ Beta(α, β) for random candidates and takes those of least (θ - p*)², nearest first.

    Source: MoPPS (Qu et al. 2025, arXiv 2507.04632, algorithm 1; public code github.com/thu-rllab/MoPPS). The name
    `mopps_retention` also sets its update, in which only a task's own rollouts change its belief:

        α ← λ'α + (1-λ')α₀ + s,   β ← λ'β + (1-λ')β₀ + (n-s)         for the tasks of the batch

    λ' is MoPPS's retention, 1 - `lam` here. The public scripts for Countdown and geometry have 0.5, as here, and draw 8
    candidates for each task of the batch; those for math forget nothing and draw 16. p* is 0.5 (γ* there).

    candidates: how many tasks are drawn, as a multiple of the batch (16 also in InSight's comparison, arXiv 2603.01907,
    appendix D.2); None: all.
    """

    def __init__(self, pool: TaskPool, candidates: int | None = 16) -> None:
        super().__init__(pool)
        self.candidates = checked_candidates(candidates)

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        rows = free_rows(beliefs, request, rng, self.candidates)
        theta = rng.beta(beliefs.alpha[rows], beliefs.beta[rows])
        return best(rows, -np.abs(theta - request.p_star), request.batch, rng)
