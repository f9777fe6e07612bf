"""Selector `bots`: Thompson sampling (arXiv 2510.26374, task selection)."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import ceil, sqrt

import numpy as np

from bots.belief.base import Belief, BeliefModel
from bots.belief.columns import BLOCK, Beliefs
from bots.pool import TaskPool
from bots.selection.base import SelectionRequest, Selector
from bots.support.arrays import Float64, Rows

SAMPLE = 1024
"""Rows from which the window's width is estimated."""


class Thompson(Selector):
    """Draws θ ~ Beta(α, β) for every task and takes those with the least |θ - p*|, nearest first.

    Only tasks with θ in a window [p*-ε, p*+ε] matter. ε is chosen so that slightly more than B are expected in it,
    from the mean density at p* of a random sample of tasks, or from draws for the sample where hardly any belief
    reaches p*. Tasks in the window are found by thinning (see `thompson_kernels.thin`). If they are fewer than B,
    the others are drawn conditioned on lying outside. If the window would not fit into (0, 1), every task is drawn.
    All of these are exact in distribution.

    method: "auto", or "draw" to always draw every task.
    """

    def __init__(self, pool: TaskPool, method: str = "auto") -> None:
        super().__init__(pool)
        if method not in ("auto", "draw"):
            raise ValueError(f'method is {method!r}; it must be "auto" or "draw"')
        self.method = method
        self._counts = {"thinned": 0, "completed": 0, "drawn": 0}

    def select(self, beliefs: Belief, request: SelectionRequest, rng: np.random.Generator) -> Rows:
        """See Selector."""
        if isinstance(beliefs, BeliefModel):
            return beliefs.nearest(request.batch, request.p_star, request.domain, rng, draw=True)
        if not isinstance(beliefs, Beliefs):
            raise TypeError(f"Thompson sampling does not know how to draw from {type(beliefs).__name__}")
        return self.draw(beliefs, request, rng)[0]

    def draw(
        self, beliefs: Beliefs, request: SelectionRequest, rng: np.random.Generator
    ) -> tuple[Rows, Float64]:
        """The selected rows, int64 (batch,), and their |θ - p*|, float64 (batch,), rising."""
        from bots.selection.thompson_kernels import thin

        seed = rng.integers(2**64, dtype=np.uint64)
        scores, rows = np.empty(request.batch), np.empty(request.batch, np.int64)
        none: Rows = np.empty(0, np.int64)
        reach = self._reach(beliefs, request, seed) if self.method == "auto" else None
        if reach is None:
            self._counts["drawn"] += 1
            return self._draw_all(beliefs, request, seed, -1.0, none, scores, rows, 0)
        found = np.empty(request.batch, np.int64)
        accepted = thin(
            beliefs.alpha,
            beliefs.beta,
            beliefs.blocked,
            self.codes(request.domain),
            request.domain,
            request.p_star,
            reach,
            BLOCK,
            beliefs.block_mass,
            seed,
            scores,
            rows,
            found,
        )
        if accepted < 0:
            warnings.warn("a belief exceeds the tracked evidence mass; drawing all tasks", stacklevel=2)
            beliefs.bound_mass()
            return self._draw_all(beliefs, request, seed, -1.0, none, scores, rows, 0)
        if accepted < request.batch:
            self._counts["completed"] += 1
            return self._draw_all(beliefs, request, seed, reach, found[:accepted], scores, rows, accepted)
        self._counts["thinned"] += 1
        return _ordered(scores, rows)

    def _reach(self, beliefs: Beliefs, request: SelectionRequest, seed: np.uint64) -> float | None:
        """ε of the window, or None if drawing every task is cheaper."""
        from bots.selection.thompson_kernels import sample_density, sample_distances

        if len(beliefs) < 4 * SAMPLE:
            return None
        sampled = (
            beliefs.alpha,
            beliefs.beta,
            beliefs.blocked,
            self.codes(request.domain),
            request.domain,
            request.p_star,
            seed,
            SAMPLE,
        )
        widest = min(request.p_star, 1 - request.p_star)
        mean, error = sample_density(*sampled)
        density = max(mean - 2 * error, mean / 4)
        expected = request.batch + 5 * sqrt(request.batch) + 10
        # The density at p* says little about a wide window.
        if density * len(beliefs) * widest / 4 > expected:
            reach: float = expected / (2 * density * len(beliefs))
            return reach
        # Enough of the sample that the pool almost certainly has more than B.
        place = ceil(2 * SAMPLE * expected / len(beliefs)) + 8
        distances = sample_distances(*sampled)
        return float(distances[place]) if place < SAMPLE and distances[place] < 0.99 * widest else None

    def _draw_all(
        self,
        beliefs: Beliefs,
        request: SelectionRequest,
        seed: np.uint64,
        reach: float,
        found: Rows,
        scores: Float64,
        rows: Rows,
        size: int,
    ) -> tuple[Rows, Float64]:
        from bots.selection.thompson_kernels import draw_all

        codes = self.codes(request.domain)

        def draw(first: int, last: int, scores: Float64, rows: Rows, size: int) -> tuple[Float64, Rows]:
            size = draw_all(
                beliefs.alpha,
                beliefs.beta,
                beliefs.blocked,
                codes,
                request.domain,
                request.p_star,
                reach,
                found,
                BLOCK,
                first,
                last,
                seed,
                scores,
                rows,
                size,
            )
            return scores[:size], rows[:size]

        blocks = len(beliefs.block_mass)
        threads = min(len(os.sched_getaffinity(0)), 8, blocks)
        if threads == 1:
            return _ordered(*draw(0, blocks, scores, rows, size))
        bounds = np.linspace(0, blocks, threads + 1).astype(int).tolist()
        with ThreadPoolExecutor(threads) as workers:
            others = [
                workers.submit(
                    draw, first, last, np.empty(request.batch), np.empty(request.batch, np.int64), 0
                )
                for first, last in pairwise(bounds[1:])
            ]
            parts = [draw(0, bounds[1], scores, rows, size), *(other.result() for other in others)]
        ordered, distances = _ordered(
            np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        )
        return ordered[: request.batch], distances[: request.batch]

    def state_dict(self) -> dict[str, int]:
        """How the selections so far were made."""
        return dict(self._counts)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """See Selector."""
        self._counts = dict(state)

    def metrics(self) -> dict[str, float]:
        """How many selections were thinned, completed by a second pass, and drawn in full."""
        return {name: float(count) for name, count in self._counts.items()}


def _ordered(scores: Float64, rows: Rows) -> tuple[Rows, Float64]:
    order = np.lexsort((rows, scores))
    return rows[order], scores[order]
