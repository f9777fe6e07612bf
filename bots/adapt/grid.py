"""λ and ρ from a grid, by the learning signal that each would select; the built-in adaptor `predictive`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from bots.adapt.followed import FollowedTasks
from bots.adapt.interface import Adaptor, Predict, PriorCounts
from bots.adapt.parabola import SignalParabola
from bots.pool import TaskPool
from bots.support.arrays import Float64, Rows
from bots.support.observation import Observation

CONCENTRATIONS = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)

VALUE_EVERY, JUDGED = 4, 1024


class PredictiveGrid(Adaptor):
    """λ and ρ by the learning signal each would select, judged by the beliefs that predict best.

    For each point g of a small grid of (λ, ρ) the beliefs are tracked as if g had been used all along
    (the update of `bots.belief.update`). Two questions then follow.

    *Which beliefs are right?* Before each observation is used, every g is scored by the Beta-binomial likelihood

        ℓ_gτ = Σ_B ln B(τα_g + s, τβ_g + n − s) − ln B(τα_g, τβ_g)

    for each concentration τ, and L_gτ = δ·L_gτ + ℓ_gτ: prequential scores (Dawid 1984) with exponential
    forgetting as in dynamic model averaging (Raftery, Kárný and Ettler 2010, Technometrics 52). The formula
    also holds for fractional successes. Selection does not bias the scores: each is conditional on the task.

    *Which (λ, ρ) selects best, given those beliefs?* Under g a task is selected in proportion to the density of
    Beta(α_g, β_g) at p* (batches are small relative to the pool), so the expected signal of its batch is

        V_g = Σ_k Beta(p*; α_g, β_g)·E[4p(1−p)] / Σ_k Beta(p*; α_g, β_g),

    with the expectation under the best predicting (g, τ). λ and ρ are the means under weights
    ∝ exp((V_g − `caution`·distance)/`temperature`); the distance is in grid cells from the configured values.

    Why not the most likely (λ, ρ)? Likelihood mostly judges the width of the beliefs. The ρn/λ implicit counts
    claim a precision that no plug-in has, so likelihood lowers ρ, although narrow beliefs keep Thompson draws from
    wasting batches on unknown tasks. In `benchmarks/selftuning.py` it recovered 77 to 97 % of the best fixed choice
    and was below the default on half of the pools.

    The beliefs are kept for a sample of the pool and for recently observed tasks (`FollowedTasks`): 2.4 MB by
    default, whatever the pool's size. p* is adapted on request (`SignalParabola`), within `p_star_range`.

    lams, rhos: the grid; by default the values of the paper's ablations.
    discount: δ; about 1/(1−δ) waves count, for L and V alike.
    caution: signal that each grid cell of distance from the configured values must gain. temperature: differences in
        signal much smaller than this do not matter.
    sample, recent: of `FollowedTasks`. seed: of the sample.
    """

    def __init__(
        self,
        pool: TaskPool,
        prior: PriorCounts,
        lam: float,
        rho: float,
        p_star: float,
        lams: Sequence[float] = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0),
        rhos: Sequence[float] = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0),
        discount: float = 0.95,
        caution: float = 0.002,
        temperature: float = 0.01,
        sample: int = 4096,
        recent: int = 4096,
        adapt_p_star: bool = False,
        p_star_range: tuple[float, float] = (0.2, 0.8),
        seed: int = 0,
    ) -> None:
        for name, values in (("lams", lams), ("rhos", rhos)):
            if len(values) == 0 or not all(0 <= value <= 1 for value in values):
                raise ValueError(
                    f"{name} is {list(values)}; it must be a non-empty list of numbers in [0, 1]"
                )
        if not 0 <= discount < 1 or caution < 0 or not temperature > 0:
            raise ValueError(
                f"discount {discount} must be in [0, 1), caution {caution} ≥ 0, temperature {temperature} > 0"
            )
        if sample < 2 or recent < 1:
            raise ValueError(f"sample {sample} must be at least 2 and recent {recent} at least 1")
        if not 0 < p_star_range[0] < p_star_range[1] < 1:
            raise ValueError(f"p_star_range is {p_star_range}; it must be two rising numbers in (0, 1)")
        self.lam, self.rho, self.p_star = lam, rho, p_star
        self.discount = discount
        self.adapt_p_star, self.p_star_range = adapt_p_star, p_star_range
        self.temperature = temperature
        self.penalty = caution * _distance(np.array(lams), np.array(rhos), lam, rho)
        rng = np.random.default_rng(seed)
        self.followed = FollowedTasks(
            len(pool), prior, np.array(lams, np.float64), np.array(rhos, np.float64), sample, recent, rng
        )
        self.judged = rng.choice(self.followed.sample, min(JUDGED, self.followed.sample), replace=False)
        grid = len(self.penalty)
        self.scores = np.zeros((grid, len(CONCENTRATIONS)))
        """L_gτ, float64 (G, concentrations)."""
        self.values = np.zeros(grid)
        """Forgetting means of V_g, float64 (G,)."""
        self.parabola = SignalParabola(p_star)

    def observe(self, observation: Observation, predict: Predict) -> None:
        """Finish the previous wave's beliefs, score the grid on this observation, and choose λ and ρ again."""
        first, opens = self.followed.outcomes == 0, self.followed.opens(observation.wave)
        discount = self.discount if opens else 1.0
        slots = self.followed.enter(observation.rows, observation.wave, predict)
        scored, predicted = self._score(slots, observation)
        self.scores = discount * self.scores + scored
        if opens and self.followed.outcomes % VALUE_EVERY == 0:
            self._value(0.0 if first else self.discount**VALUE_EVERY)
        weight = self._weights()
        self.lam, self.rho = float(weight @ self.followed.grid_lam), float(weight @ self.followed.grid_rho)
        if self.adapt_p_star:
            best, _ = self._best()
            self.parabola.observe(predicted[:, best], observation, discount)
            if (vertex := self.parabola.vertex()) is not None:
                self.p_star = float(np.clip(vertex, *self.p_star_range))
        self.followed.keep(slots, observation, predict)

    def _best(self) -> tuple[int, int]:
        """Grid point and concentration that predict best."""
        best, concentration = np.unravel_index(np.argmax(self.scores), self.scores.shape)
        return int(best), int(concentration)

    def _value(self, keep: float) -> None:
        """Expected signal of a batch selected by each grid point, judged by the best predicting one."""
        best, concentration = self._best()
        beliefs = self.followed.beliefs[:, self.judged].astype(np.float64)
        judged = beliefs[:, :, best] * CONCENTRATIONS[concentration]
        total = judged.sum(axis=0)
        signal = 4 * judged[0] * judged[1] / (total * (total + 1))
        self.values = keep * self.values + (1 - keep) * _selected_mean(beliefs, signal, self.p_star)

    def _weights(self) -> Float64:
        """Weight of each grid point, (G,)."""
        worth = (self.values - self.penalty) / self.temperature
        weight: Float64 = np.exp(worth - worth.max())
        weight /= weight.sum()
        return weight

    def _score(self, slots: Rows, observation: Observation) -> tuple[Float64, Float64]:
        """ℓ_gτ, (G, concentrations), and every grid point's predicted means, (B, G)."""
        alpha, beta = self.followed.beliefs[:, slots].astype(np.float64)
        s, f = observation.successes, observation.rollouts - observation.successes
        scored = _beta_binomial(alpha, beta, s, f, np.array(CONCENTRATIONS))
        predicted: Float64 = alpha / (alpha + beta)
        return scored, predicted

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes."""
        mine = {name: getattr(self, name).copy() for name in ("scores", "values", "judged")}
        chosen = {"lam": self.lam, "rho": self.rho, "p_star": self.p_star}
        return mine | chosen | self.followed.state_dict() | self.parabola.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        grid, lams = len(self.scores), len(self.followed.lams)
        if np.shape(state["scores"]) != self.scores.shape or len(state["history"][0]) != lams:
            raise ValueError(f"the state is of a grid of {len(state['scores'])} points, this one has {grid}")
        for name in ("scores", "values", "judged"):
            setattr(self, name, np.array(state[name], getattr(self, name).dtype))
        self.lam, self.rho, self.p_star = (float(state[name]) for name in ("lam", "rho", "p_star"))
        self.followed.load_state_dict(state)
        self.parabola.load_state_dict(state)

    def metrics(self) -> dict[str, float]:
        """λ, ρ and p* in use, how concentrated the weights are, and how many tasks are followed."""
        weight = self._weights()
        return {
            "lam": self.lam,
            "rho": self.rho,
            "p_star": self.p_star,
            "grid_points": float(1 / np.sum(weight**2)),
            "followed": float(self.followed.count()),
        }

    def grow(self, pool: TaskPool, prior: PriorCounts) -> None:
        """New tasks are followed once they are observed."""
        self.followed.grow(len(pool), prior)


def _distance(lams: Float64, rhos: Float64, lam: float, rho: float) -> Float64:
    """How far each grid point (ρ running fastest) lies from (λ, ρ), in grid cells, (G,)."""

    def away(values: Float64, value: float) -> Float64:
        cells = np.sort(values), np.arange(len(values), dtype=np.float64)
        return np.abs(np.interp(values, *cells) - np.interp(value, *cells))

    distance: Float64 = np.hypot(away(lams, lam)[:, None], away(rhos, rho)[None, :]).reshape(-1)
    return distance


@njit(cache=True)  # type: ignore[untyped-decorator]
def _beta_binomial(alpha: Float64, beta: Float64, s: Float64, f: Float64, concentrations: Float64) -> Float64:
    """Σ_B ln B(τα+s, τβ+f) − ln B(τα, τβ), float64 (G, T); α and β are (B, G), s and f (B,), τ (T,)."""
    total = np.zeros((alpha.shape[1], len(concentrations)))
    for i in range(alpha.shape[0]):
        for g in range(alpha.shape[1]):
            for j in range(len(concentrations)):
                a, b = concentrations[j] * alpha[i, g], concentrations[j] * beta[i, g]
                before, failed_before = math.lgamma(a), math.lgamma(b)
                # Groups without any success, or failure, are frequent.
                after = math.lgamma(a + s[i]) if s[i] else before
                failed_after = math.lgamma(b + f[i]) if f[i] else failed_before
                total[g, j] += after - before + failed_after - failed_before
                total[g, j] -= math.lgamma(a + b + s[i] + f[i]) - math.lgamma(a + b)
    return total


@njit(cache=True)  # type: ignore[untyped-decorator]
def _selected_mean(beliefs: Float64, signal: Float64, target: float) -> Float64:
    """Mean signal of the tasks with weights Beta(target; α, β), their chance to be drawn nearest to it: (G,).

    beliefs: α and β, (2, S, G). signal: (S,).
    """
    value = np.zeros(beliefs.shape[2])
    weight = np.zeros(beliefs.shape[2])
    # Weights relative to the greatest so far: far from the target all densities of sharp beliefs underflow.
    top = np.full(beliefs.shape[2], -np.inf)
    left, right = math.log(target), math.log(1 - target)
    for i in range(beliefs.shape[1]):
        for g in range(beliefs.shape[2]):
            a, b = beliefs[0, i, g], beliefs[1, i, g]
            density = (a - 1) * left + (b - 1) * right + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
            if density > top[g]:
                scale = math.exp(top[g] - density)
                value[g] *= scale
                weight[g] *= scale
                top[g] = density
            relative = math.exp(density - top[g])
            weight[g] += relative
            value[g] += relative * signal[i]
    return value / weight
