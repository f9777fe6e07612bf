"""BOTS's own selector: Thompson sampling (ALGORITHM section 4; paper, task selection)."""

from __future__ import annotations

import numpy as np

from bots.beliefs import BLOCK, Beliefs
from bots.selection.base import Request, Rows, Selector


class Thompson(Selector):
    """Draws θ ~ Beta(α, β) for every task and takes those with the least |θ - p*|, nearest first."""

    def select(self, beliefs: Beliefs, request: Request, rng: np.random.Generator) -> Rows:
        """See Selector."""
        from bots.selection.nearest import in_order
        from bots.selection.thompson_kernels import draw_all

        scores, rows = np.empty(request.batch), np.empty(request.batch, np.int64)
        seed, size = rng.integers(2**64, dtype=np.uint64), 0
        for number, start in enumerate(range(0, len(beliefs), BLOCK)):
            size = draw_all(
                beliefs.alpha,
                beliefs.beta,
                beliefs.blocked,
                self.codes(request.domain),
                request.domain,
                request.p_star,
                -1.0,
                np.empty(0, np.int64),
                seed,
                number,
                start,
                min(start + BLOCK, len(beliefs)),
                scores,
                rows,
                size,
            )
        return in_order(scores, rows)
