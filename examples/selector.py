"""A custom selector: Thompson sampling with a share of every batch drawn uniformly, so that no task is forgotten.

Run it:

    python examples/selector.py

It is one file. A job uses it by name, with options, and no other file changes:

    selection:
      selector: examples.selector:Exploring
      selector_options: {share: 0.2}
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from bots import BOTS, TaskPool
from bots.belief.columns import Beliefs
from bots.selection import SelectionRequest, Selector
from bots.selection.conformance import CHECKS


class Exploring(Selector):
    """Draws θ ~ Beta(α, β) for every task and takes those nearest to p*; a share of the batch is uniform.

    share: of the batch that is drawn uniformly, in [0, 1].
    """

    def __init__(self, pool: TaskPool, share: float = 0.1) -> None:
        super().__init__(pool)
        if not 0 <= share <= 1:
            raise ValueError(f"share is {share}; it must be in [0, 1]")
        self.share = share

    def select(
        self, beliefs: Beliefs, request: SelectionRequest, rng: np.random.Generator
    ) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The nearest tasks first, then the uniform ones."""
        allowed = beliefs.blocked == 0
        if request.domain >= 0:
            allowed &= self.pool.domain_codes == request.domain
        rows = np.flatnonzero(allowed)
        theta = rng.beta(beliefs.alpha[rows], beliefs.beta[rows])
        rows = rows[np.argsort(np.abs(theta - request.p_star), kind="stable")]
        uniform = round(self.share * request.batch)
        nearest, others = rows[: request.batch - uniform], rows[request.batch - uniform :]
        return np.concatenate([nearest, rng.choice(others, uniform, replace=False)])


def main() -> None:
    """Check the selector, then let it select from a pool whose tasks have a fixed pass rate."""
    for check in CHECKS:
        check(lambda pool: Exploring(pool, share=0.2))
    print(f"Exploring passes {len(CHECKS)} checks")

    rng = np.random.default_rng(0)
    pass_rates = rng.random(2_000) ** 3  # most tasks are hard
    pool = TaskPool.from_arrow(pa.table({"id": [f"task-{k}" for k in range(2_000)]}))
    bots = BOTS(
        pool,
        selector=f"{__name__}:Exploring",
        selector_options={"share": 0.2},
        evidence="none",
        lam=0.0,
        rollouts=8,
    )
    for step in range(60):
        rows = bots.select(32, step=step)
        rewards = (rng.random((32, 8)) < pass_rates[rows, None]).astype(float)
        bots.observe(rows, rewards, step=step)
        if step % 20 == 19:
            print(
                f"step {step + 1}: {bots.metrics()['batch/etr']:.0%} of the batch's tasks have mixed rewards"
            )


if __name__ == "__main__":
    main()
