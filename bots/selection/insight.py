"""InSight: the tasks whose rollouts say most about their own success rate, weighted by difficulty."""

from __future__ import annotations

import numpy as np

from bots.belief.base import Belief
from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector
from bots.selection.ranking import best, checked_candidates, free_rows
from bots.support.arrays import Float64, Rows


class InSight(Selector):
    """Takes the candidates of greatest weighted mutual information, with p̄ = α/(α+β) and n rollouts:

        A = w(p̄)·I(R₁…R_n; Φ),   w(p̄) = p̄(1-p̄)·exp(-η(p̄-µ)²)

    Source: InSight (Zhou et al. 2026, arXiv 2603.01907), equations 13, 15, 16 and 17. The beliefs are counts of a
    task's own rollouts without forgetting (equation 6 with its λ = 1); another λ, ρ or evidence may be set. p* is not
    used.

    eta: η, sharpness of the preference for pass rates near µ. mu: µ; 0.3 is the best value of the paper's table 5 (its
    appendix D.2 prints 3.0, which is no pass rate). candidates: how many tasks are drawn at random and scored, as a
    multiple of the batch (appendix D.2); None: all.
    """

    def __init__(
        self, pool: TaskPool, eta: float = 3.0, mu: float = 0.3, candidates: int | None = 16
    ) -> None:
        super().__init__(pool)
        if not 0 <= eta < np.inf:
            raise ValueError(f"eta is {eta}; it must be a finite number ≥ 0, and 0 prefers no difficulty")
        if not 0 <= mu <= 1:
            raise ValueError(f"mu is {mu}; it must be a pass rate in [0, 1]")
        self.eta, self.mu, self.candidates = float(eta), float(mu), checked_candidates(candidates)

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        rows = free_rows(beliefs, request, rng, self.candidates)
        scores = self.scores(beliefs.alpha[rows], beliefs.beta[rows], request.rollouts)
        return best(rows, scores, request.batch, rng)

    def scores(self, alpha: Float64, beta: Float64, rollouts: int) -> Float64:
        """A of equation 16, float64 (R,)."""
        from bots.selection.information import mutual_information  # numba takes a while to import

        mean = alpha / (alpha + beta)
        weight = mean * (1 - mean) * np.exp(-self.eta * (mean - self.mu) ** 2)
        scores: Float64 = weight * mutual_information(alpha, beta, rollouts)
        return scores
