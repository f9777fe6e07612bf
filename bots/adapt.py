"""Self-tuning of λ, ρ and p*: what an adaptor is told at each step, and what it answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from bots.pool import Rows, TaskPool
from bots.registry import load_class

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StepOutcome:
    """What one step observed, merged by task.

    step: the step the batch was selected at. rows: int64 (B,), distinct.
    successes: float64 (B,), sum of the group's rewards. rollouts: float64 (B,), size of the group.
    variance: float64 (B,), variance of the rewards within each group (population form, divided by n).
    implicit_rollouts: the n that scales the implicit counts of the tasks outside the batch.
    """

    step: int
    rows: Rows
    successes: Floats
    rollouts: Floats
    variance: Floats
    implicit_rollouts: float


Predict = Callable[[Rows], npt.NDArray[np.float32]]
"""Implicit pass rates p̃ (R,) of the given rows by the evidence plug-in's present state, NaN where none."""

Prior = Callable[[Rows], tuple[npt.ArrayLike, npt.ArrayLike]]
"""Prior pseudo-counts (α0, β0) of the given rows, each a scalar or (R,)."""


class Adaptor(ABC):
    """Chooses λ, ρ and p* while training runs. Constructed as `cls(pool, prior, lam, rho, p_star, **params)`.

    The owner calls `observe` once for each step's outcome, BEFORE the evidence plug-in and the posterior see
    it, so that every prediction that an adaptor scores is one step ahead; then it updates the posterior
    with `lam` and `rho`, and selects with `p_star`.
    """

    lam: float
    rho: float
    p_star: float

    @abstractmethod
    def observe(self, outcome: StepOutcome, predict: Predict) -> None:
        """Learn from one step. `predict` answers from the evidence before this outcome."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All mutable state, as numbers, strings and NumPy arrays: enough to go on bit for bit."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state of an adaptor that was constructed in the same way."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Figures for the step's log line."""

    @abstractmethod
    def grow(self, pool: TaskPool, prior: Prior) -> None:
        """The pool has grown; earlier rows keep their numbers."""


CONCENTRATIONS = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)

VALUE_EVERY, JUDGED = 4, 1024

BUILT_IN = {"predictive": "bots.adapt:PredictiveGrid"}


def make_adaptor(
    name: str,
    pool: TaskPool,
    prior: Prior,
    lam: float,
    rho: float,
    p_star: float,
    params: Mapping[str, Any] | None = None,
) -> Adaptor:
    """The adaptor of that name: a key of `BUILT_IN`, or "module:Class" for a user's own.

    lam, rho, p_star: what the configuration says; the adaptor starts from there.
    Raises ValueError for an unknown name or parameters that the class does not take.
    """
    cls: Any = load_class("adaptor", name, BUILT_IN, Adaptor)
    try:
        adaptor: Adaptor = cls(pool, prior, lam, rho, p_star, **(params or {}))
    except TypeError as error:
        raise ValueError(f"adaptor {name!r}: {error}") from error
    return adaptor


class PredictiveGrid(Adaptor):
    """λ and ρ by the learning signal that each would select, judged by the beliefs that predict best.

    For each point g of a small grid of (λ, ρ) the beliefs are followed as if g had been used all along
    (ALGORITHM section 2). Then two questions are asked in turn.

    *Which beliefs are right?* Before an outcome is learnt, each g is scored by the Beta-binomial likelihood

        ℓ_gτ = Σ_B ln B(τα_g + s, τβ_g + n − s) − ln B(τα_g, τβ_g)

    for each concentration τ, and L_gτ = δ·L_gτ + ℓ_gτ: prequential scores (Dawid 1984) with exponential
    forgetting as in dynamic model averaging (Raftery, Kárný and Ettler 2010, Technometrics 52). Fractional
    successes take the same formula. Selection does not bias the scores: each is conditional on the task.

    *Which (λ, ρ) selects best, if those are right?* Under g a task is selected in proportion to the density of
    Beta(α_g, β_g) at p* (batches being small against the pool), so the expected signal of its batch is

        V_g = Σ_k Beta(p*; α_g, β_g)·E[4p(1−p)] / Σ_k Beta(p*; α_g, β_g),

    with the expectation under the best predicting (g, τ). λ and ρ are the means under weights
    ∝ exp((V_g − `caution`·distance)/`temperature`), the distance being in grid cells from the configured values.

    Why not simply the most likely (λ, ρ)? Tried first: likelihood judges above all how wide beliefs are. The
    ρn/λ implicit counts claim a precision that no plug-in has, so likelihood turns ρ down, although narrow
    beliefs keep Thompson draws from wasting batches on unknown tasks: in `benchmarks/selftuning.py`
    it recovered 77 to 97 % of the best fixed choice and was below the default on half of the pools.

    Which tasks are followed. A likelihood needs the past of the observed tasks under every grid point, and
    K tasks times the grid would be far more memory than the beliefs themselves. So `sample` tasks, drawn once
    evenly at random, are followed exactly from the start, and besides them the `recent` tasks observed
    last: those are what the following batches return to. A task that enters at its first observation takes
    up the implicit history of the followed tasks with the nearest p̃ now (exact as far as the plug-in's
    predictions moved in parallel), and with NaN the prior. A pool of at most `sample` tasks is followed
    whole. Memory: (sample + recent)·36·8 bytes, 2.4 MB by default, whatever the pool's size.

    p* is adapted on request: within each batch the signal v (unbiased variance of the group's rewards) is
    regressed on the predicted mean q, v ≈ a + b·q + c·q², by forgetting least squares with pseudo-data of the
    textbook curve v = ¼ − (q − p*₀)², and p* is the vertex −b/2c within `p_star_range`. Where beliefs lag
    behind an improving policy, or rewards are not binary, the best believed rate is not the nominal one.

    lams, rhos: the grid; by default the values of the paper's ablations.
    discount: δ; about 1/(1−δ) steps count, for L and V alike.
    caution: signal that a grid cell's distance from the configured values must gain. temperature: differences in
        signal much smaller than this don't matter.
    sample, recent: see above. adapt_p_star, p_star_range: see above. seed: of the sample.
    """

    def __init__(
        self,
        pool: TaskPool,
        prior: Prior,
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
        self.prior, self.lam, self.rho, self.p_star = prior, lam, rho, p_star
        self.lams, self.rhos = np.array(lams, np.float64), np.array(rhos, np.float64)
        self.discount, self.recent = discount, recent
        self.adapt_p_star, self.p_star_range = adapt_p_star, p_star_range
        self.grid_lam = np.repeat(self.lams, len(rhos))
        self.grid_rho = np.tile(self.rhos, len(lams))
        away_lam = np.abs(np.interp(self.lams, *_cells(self.lams)) - np.interp(lam, *_cells(self.lams)))
        away_rho = np.abs(np.interp(self.rhos, *_cells(self.rhos)) - np.interp(rho, *_cells(self.rhos)))
        distance = np.hypot(away_lam[:, None], away_rho[None, :]).reshape(-1)
        self.scores = np.zeros((len(distance), len(CONCENTRATIONS)))
        self.penalty = caution * distance
        self.temperature = temperature
        self.values = np.zeros(len(distance))
        """Forgetting means of V_g, float64 (G,)."""
        """L_gτ, float64 (G, concentrations)."""

        rng = np.random.default_rng(seed)
        followed = np.sort(rng.choice(len(pool), min(sample, len(pool)), replace=False))
        self.sample, self.size = len(followed), len(pool)
        spare = min(recent, len(pool) - self.sample)
        self.rows = np.concatenate([followed, np.full(spare, -1, np.int64)])
        """int64 (slots,): the sample's rows, then the recent ones; -1 where empty."""
        self.seen = np.full(len(self.rows), -1, np.int64)
        """int64 (slots,): count of outcomes when the slot's task was last observed."""
        self.judged = rng.choice(self.sample, min(JUDGED, self.sample), replace=False)
        grid = len(self.scores)
        self.prior_counts = np.ones((2, len(self.rows)), np.float32)
        self._set_prior(slice(0, self.sample), followed)
        self.beliefs = np.repeat(self.prior_counts[:, :, None], grid, axis=2)
        """α and β, float32 (2, slots, G)."""
        self.history = np.zeros((2, len(self.lams), self.sample), np.float32)
        """Forgetting sums of the implicit successes and failures with ρ = 1, of the sample, for each λ."""
        self.outcomes = 0
        self.pending_slots = np.empty(0, np.int64)
        self.pending_counts = np.empty((2, 0), np.float32)
        self.pending_implicit = 0.0
        self.pseudo = _parabola(p_star)
        self.moments, self.response = np.zeros((3, 3)), np.zeros(3)

    def _set_prior(self, slots: slice | Rows, rows: Rows) -> None:
        alpha, beta = self.prior(rows)
        self.prior_counts[0, slots], self.prior_counts[1, slots] = alpha, beta

    def observe(self, outcome: StepOutcome, predict: Predict) -> None:
        """Finish the beliefs of the step before, score the grid on this outcome, and choose anew."""
        if len(outcome.rows) > (spare := len(self.rows) - self.sample) and self.sample + spare < self.size:
            raise ValueError(
                f"a batch of {len(outcome.rows)} tasks does not fit recent={spare}; raise `recent`"
            )
        if self.outcomes:
            self._advance(predict)
        slots = self._slots(outcome.rows, predict)
        scored, predicted = self._score(slots, outcome)
        self.scores = self.discount * self.scores + scored
        if self.outcomes % VALUE_EVERY == 0:
            self._value()
        weight = self._weights()
        self.lam, self.rho = float(weight @ self.grid_lam), float(weight @ self.grid_rho)
        if self.adapt_p_star:
            best, _ = np.unravel_index(np.argmax(self.scores), self.scores.shape)
            self._move_p_star(predicted[:, best], outcome)
        self.seen[slots] = self.outcomes
        self.pending_slots = slots
        self.pending_counts = np.array([outcome.successes, outcome.rollouts - outcome.successes], np.float32)
        self.pending_implicit = float(outcome.implicit_rollouts)
        self.outcomes += 1

    def _advance(self, predict: Predict) -> None:
        """The update of the step before, which had to wait for the evidence that came with it."""
        used = np.flatnonzero(self.rows >= 0)
        rate = np.full(len(self.rows), np.nan, np.float32)
        rate[used] = predict(self.rows[used])
        counts = np.stack([rate, 1 - rate]) * np.float32(self.pending_implicit)
        implicit = np.nan_to_num(counts)
        self.history *= (1 - self.lams[:, None]).astype(np.float32)
        self.history += implicit[:, None, : self.sample]
        explicit = np.zeros(len(self.rows), np.bool_)
        explicit[self.pending_slots] = True
        implicit[:, self.pending_slots] = self.pending_counts
        _update(self.beliefs, self.prior_counts, implicit, explicit, self.grid_lam, self.grid_rho)

    def _slots(self, rows: Rows, predict: Predict) -> Rows:
        """The slot of each row; rows not yet followed take the place of the recent ones seen longest ago."""
        order = np.argsort(self.rows, kind="stable")
        place = np.minimum(np.searchsorted(self.rows, rows, sorter=order), len(self.rows) - 1)
        slots: Rows = order[place]
        new = self.rows[slots] != rows
        if not new.any():
            return slots
        free = np.setdiff1d(np.arange(self.sample, len(self.rows)), slots[~new])
        free = free[np.argsort(self.seen[free], kind="stable")][: int(new.sum())]
        slots[new] = free
        self.rows[free] = rows[new]
        self._set_prior(free, rows[new])
        self.beliefs[:, free] = self.prior_counts[:, free, None]
        if self.outcomes:
            self._inherit(free, predict)
        return slots

    def _inherit(self, slots: Rows, predict: Predict) -> None:
        """Give new tasks the implicit history of the sample's tasks with the nearest prediction."""
        rate, known = predict(self.rows[slots]), predict(self.rows[: self.sample])
        order = np.argsort(known, kind="stable")
        order = order[: int(np.count_nonzero(~np.isnan(known)))]
        has = ~np.isnan(rate)
        if not has.any() or len(order) == 0:
            return
        for i in range(len(self.lams)):
            columns = slice(i * len(self.rhos), (i + 1) * len(self.rhos))
            for side in range(2):
                past = np.interp(rate[has], known[order], self.history[side, i, order])
                self.beliefs[side, slots[has], columns] += past[:, None] * self.rhos

    def _value(self) -> None:
        """Expected signal of a batch selected by each grid point, judged by the best predicting one."""
        best, concentration = np.unravel_index(np.argmax(self.scores), self.scores.shape)
        judged = self.beliefs[:, self.judged, best].astype(np.float64) * CONCENTRATIONS[int(concentration)]
        total = judged.sum(axis=0)
        signal = 4 * judged[0] * judged[1] / (total * (total + 1))
        value = _selected_mean(self.beliefs[:, self.judged].astype(np.float64), signal, self.p_star)
        keep = self.discount**VALUE_EVERY if self.outcomes else 0.0
        self.values = keep * self.values + (1 - keep) * value

    def _weights(self) -> Floats:
        """Weight of each grid point, (G,)."""
        worth = (self.values - self.penalty) / self.temperature
        weight: Floats = np.exp(worth - worth.max())
        weight /= weight.sum()
        return weight

    def _score(self, slots: Rows, outcome: StepOutcome) -> tuple[Floats, Floats]:
        """ℓ_gτ, (G, concentrations), and every grid point's predicted means, (B, G)."""
        alpha, beta = self.beliefs[:, slots].astype(np.float64)
        s, f = outcome.successes, outcome.rollouts - outcome.successes
        scored = _beta_binomial(alpha, beta, s, f, np.array(CONCENTRATIONS))
        predicted: Floats = alpha / (alpha + beta)
        return scored, predicted

    def _move_p_star(self, predicted: Floats, outcome: StepOutcome) -> None:
        """Refit the parabola of signal against predicted mean, and go to its vertex."""
        usable = outcome.rollouts > 1  # one rollout shows no variance
        n = outcome.rollouts[usable]
        powers = predicted[usable, None] ** np.arange(3)
        signal = outcome.variance[usable] * n / (n - 1)
        self.moments = self.discount * self.moments + powers.T @ powers
        self.response = self.discount * self.response + powers.T @ signal
        _, b, c = np.linalg.solve(self.moments + self.pseudo[0], self.response + self.pseudo[1])
        if c < 0:
            self.p_star = float(np.clip(-b / (2 * c), *self.p_star_range))

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes."""
        arrays = {name: getattr(self, name).copy() for name in _ARRAYS}
        return {**arrays, **{name: getattr(self, name) for name in _NUMBERS}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        grid = len(self.scores)
        if np.shape(state["scores"]) != self.scores.shape or len(state["history"][0]) != len(self.lams):
            raise ValueError(f"the state is of a grid of {len(state['scores'])} points, this one has {grid}")
        for name in _ARRAYS:
            setattr(self, name, np.array(state[name], getattr(self, name).dtype))
        for name, kind in _NUMBERS.items():
            setattr(self, name, kind(state[name]))

    def metrics(self) -> dict[str, float]:
        """λ, ρ and p* in use, how concentrated the weights are, and how many tasks are followed."""
        weight = self._weights()
        return {
            "lam": self.lam,
            "rho": self.rho,
            "p_star": self.p_star,
            "grid_points": float(1 / np.sum(weight**2)),
            "followed": float(np.count_nonzero(self.rows >= 0)),
        }

    def grow(self, pool: TaskPool, prior: Prior) -> None:
        """New tasks are followed once they are observed."""
        self.prior, self.size = prior, len(pool)
        spare = min(self.recent, len(pool) - self.sample) - (len(self.rows) - self.sample)
        if spare > 0:
            self.rows = np.append(self.rows, np.full(spare, -1, np.int64))
            self.seen = np.append(self.seen, np.full(spare, -1, np.int64))
            ones = np.ones((2, spare), np.float32)
            self.prior_counts = np.append(self.prior_counts, ones, axis=1)
            grid = len(self.scores)
            self.beliefs = np.append(self.beliefs, np.ones((2, spare, grid), np.float32), axis=1)


_ARRAYS = (
    "scores",
    "values",
    "judged",
    "rows",
    "seen",
    "prior_counts",
    "beliefs",
    "history",
    "pending_slots",
    "pending_counts",
    "moments",
    "response",
)
_NUMBERS: dict[str, type] = {
    "sample": int,
    "outcomes": int,
    "pending_implicit": float,
    "lam": float,
    "rho": float,
    "p_star": float,
}


def _cells(values: Floats) -> tuple[Floats, Floats]:
    """Grid values and their numbers, to measure distances in cells."""
    return np.sort(values), np.arange(len(values), dtype=np.float64)


def _parabola(p_star: float, weight: float = 32.0) -> tuple[Floats, Floats]:
    """Moments and response of pseudo-data on v = ¼ − (q − p*)², as heavy as `weight` tasks."""
    q = p_star + np.array([-0.3, 0.0, 0.3])
    powers = q[:, None] ** np.arange(3)
    return weight / 3 * powers.T @ powers, weight / 3 * powers.T @ (0.25 - (q - p_star) ** 2)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _update(
    beliefs: npt.NDArray[np.float32],
    prior: npt.NDArray[np.float32],
    counts: npt.NDArray[np.float32],
    explicit: npt.NDArray[np.bool_],
    lams: Floats,
    rhos: Floats,
) -> None:
    """ALGORITHM section 2 at every grid point, in place: (2, S, G), (2, S), (2, S), (S,), (G,), (G,)."""
    keep, share = (1 - lams).astype(np.float32), rhos.astype(np.float32)
    fresh = lams.astype(np.float32)
    for side in range(2):
        for slot in range(beliefs.shape[1]):
            start, count = prior[side, slot], counts[side, slot]
            for g in range(beliefs.shape[2]):
                # An observed task gets its n counts whole: (1-ρ)·s + ρ·s.
                add = count if explicit[slot] else share[g] * count
                beliefs[side, slot, g] = keep[g] * beliefs[side, slot, g] + fresh[g] * start + add


@njit(cache=True)  # type: ignore[untyped-decorator]
def _beta_binomial(alpha: Floats, beta: Floats, s: Floats, f: Floats, concentrations: Floats) -> Floats:
    """Σ_B ln B(τα+s, τβ+f) − ln B(τα, τβ), float64 (G, T); α and β are (B, G), s and f (B,), τ (T,)."""
    total = np.zeros((alpha.shape[1], len(concentrations)))
    for i in range(alpha.shape[0]):
        for g in range(alpha.shape[1]):
            for j in range(len(concentrations)):
                a, b = concentrations[j] * alpha[i, g], concentrations[j] * beta[i, g]
                total[g, j] += math.lgamma(a + s[i]) - math.lgamma(a) + math.lgamma(b + f[i]) - math.lgamma(b)
                total[g, j] -= math.lgamma(a + b + s[i] + f[i]) - math.lgamma(a + b)
    return total


@njit(cache=True)  # type: ignore[untyped-decorator]
def _selected_mean(beliefs: Floats, signal: Floats, target: float) -> Floats:
    """Mean signal of the tasks with weights Beta(target; α, β), their chance to be drawn nearest to it: (G,).

    beliefs: α and β, (2, S, G). signal: (S,).
    """
    value = np.zeros(beliefs.shape[2])
    left, right = math.log(target), math.log(1 - target)
    for g in range(beliefs.shape[2]):
        weight_sum = 0.0
        for i in range(beliefs.shape[1]):
            a, b = beliefs[0, i, g], beliefs[1, i, g]
            density = math.exp(
                (a - 1) * left + (b - 1) * right + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
            )
            weight_sum += density
            value[g] += density * signal[i]
        value[g] /= weight_sum
    return value
