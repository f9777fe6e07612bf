"""Item response: interpolation in logit space between two reference models, ability tracked online."""

from __future__ import annotations

from typing import Any

import numpy as np

from bots.evidence.base import Evidence
from bots.pool import TaskPool
from bots.support.arrays import Float32, Float64, Rows
from bots.support.observation import Observation


class ItemResponse(Evidence):
    """Two-parameter logistic item response model, logit p = a·(θ − b) (Birnbaum 1968).

    The two reference models fix the scale of the ability θ: the weak one has θ = 0, the strong one θ = 1.
    Then each task's logit is c + a·θ with c = logit w and a = logit s − logit w (discrimination), and its
    difficulty is b = −c/a. Unlike the paper's linear interpolation, equal progress moves a task at 0.5 more
    than one at 0.02, and a policy beyond the strong model is not cut off at 0 or 1.

    Anchors are measured with few samples, so a rate r of m samples is taken as the empirical logit
    ln((r·m + ½) / ((1−r)·m + ½)) with variance 1/(r·m + ½) + 1/((1−r)·m + ½) (Haldane 1956, Anscombe 1956),
    and each task's discrimination is shrunk to its domain's mean by empirical Bayes (normal-normal model):
    the more, the less the spread between tasks exceeds what the sampling noise explains. The task's mean
    logit of the two anchors is kept.

    The ability of each domain has a normal belief (mean θ, variance P) that drifts as a random walk. A batch
    updates it by the mode and curvature of prior times likelihood (Laplace approximation; an extended Kalman
    step). The binomial likelihood is divided by the dispersion φ ≥ 1, an average of the batches' Pearson χ²
    over degrees of freedom, since tasks deviate from any two-number description by far more than their
    rollouts' noise. Predictions integrate over θ by MacKay's probit approximation.

    Tasks without both anchors are ignored and have no prediction; a domain has none before its first batch.

    anchor_samples: m, the samples behind each anchor pass rate.
    drift: standard deviation of a wave's change of ability, in distances between weak and strong.
    per_domain: an ability for each domain (default: if there are several).
    """

    def __init__(
        self, pool: TaskPool, anchor_samples: int = 16, drift: float = 0.02, per_domain: bool | None = None
    ) -> None:
        super().__init__(pool)
        if not pool.has_anchors:
            raise ValueError(
                "evidence 'item_response' needs a pool with weak and strong anchors; it has none"
            )
        if anchor_samples < 1:
            raise ValueError(f"anchor_samples is {anchor_samples}; it must be at least 1")
        if drift < 0:
            raise ValueError(f"drift is {drift}; it must be ≥ 0")
        self.samples, self.drift = float(anchor_samples), drift
        self._by_number_of_domains = per_domain is None
        self.per_domain = len(pool.domains) > 1 if per_domain is None else per_domain
        groups = len(pool.domains) if self.per_domain else 1
        self.ability = np.full(groups, 0.5)
        """θ of each domain, float64."""
        self.variance = np.ones(groups)
        """P, float64. Starts at 1: anywhere around the two models."""
        self.dispersion = np.full(groups, 4.0)
        """φ, float64."""
        self.last_wave = np.full(groups, -1)
        """Wave of each domain's newest batch, -1 before the first."""
        self._fit_items()

    def _fit_items(self) -> None:
        """Intercept c and discrimination a of each task, float32 (K,), NaN without anchors."""
        self.intercept, noise = self._logit(self.pool.weak)
        upper, upper_noise = self._logit(self.pool.strong)
        self.discrimination = upper - self.intercept
        noise += upper_noise
        middle = (upper + self.intercept) / 2
        codes = self.pool.domain_codes
        for g in range(len(self.pool.domains)):
            chosen = (codes == g) & ~np.isnan(self.discrimination)
            if not chosen.any():
                continue
            raw, error = self.discrimination[chosen], noise[chosen]
            between = max(0.0, float(np.var(raw)) - float(np.mean(error)))
            mean = float(np.mean(raw))
            shrunk = mean + (raw - mean) * (between / (between + error))
            self.discrimination[chosen] = shrunk
            self.intercept[chosen] = middle[chosen] - shrunk / 2

    def _logit(self, rates: Float32) -> tuple[Float32, Float32]:
        hits, misses = rates * np.float32(self.samples), (1 - rates) * np.float32(self.samples)
        hits += 0.5
        misses += 0.5
        logit: Float32 = np.log(hits / misses)
        noise: Float32 = np.reciprocal(hits) + np.reciprocal(misses)
        return logit, noise

    def observe(self, observation: Observation) -> None:
        """Move the ability of the domains in the batch."""
        rows, p_hat, n = observation.rows, observation.pass_rates, observation.rollouts
        group = self.pool.domain_codes[rows] if self.per_domain else np.zeros(len(rows), np.int16)
        a, c = self.discrimination[rows].astype(np.float64), self.intercept[rows].astype(np.float64)
        known = ~np.isnan(a)
        for g in np.unique(group[known]).tolist():
            chosen = known & (group == g)
            self._step(g, observation.wave, a[chosen], c[chosen], p_hat[chosen], n[chosen])

    def _step(self, g: int, wave: int, a: Float64, c: Float64, p_hat: Float64, n: Float64) -> None:
        """One batch of one domain. A batch d waves late is an observation of θ blurred by d waves' drift."""
        first, apart = self.last_wave[g] < 0, wave - int(self.last_wave[g])
        prior = self.variance[g] + (0.0 if first else max(0, apart) * self.drift**2)
        phi, start = self.dispersion[g], self.ability[g]
        theta = start
        for _ in range(30):
            p = _sigmoid(c + a * theta)
            slope = np.sum(n * a * (p_hat - p)) / phi - (theta - start) / prior
            curvature = np.sum(n * a**2 * p * (1 - p)) / phi + 1 / prior
            # The log posterior is concave; the limit keeps Newton steps from overshooting on its flat tails.
            move = float(np.clip(slope / curvature, -1, 1))
            theta += move
            if abs(move) < 1e-9:
                break
        p = _sigmoid(c + a * theta)
        information = float(np.sum(n * a**2 * p * (1 - p)) / phi)
        late = 0.0 if first else max(0, -apart) * self.drift**2
        precision = information / (1 + information * late)
        gain = precision * (1 + information * prior) / (information * (1 + precision * prior) or 1.0)
        self.ability[g] = start + gain * (theta - start)
        self.variance[g] = prior / (1 + prior * precision)
        self.last_wave[g] = max(self.last_wave[g], wave)
        expected = np.maximum(p * (1 - p), 1 / (4 * n))
        chi2 = float(np.sum(n * (p_hat - p) ** 2 / expected)) / len(n)
        self.dispersion[g] = max(1.0, 0.9 * phi + 0.1 * chi2)

    def predict(self, start: int, stop: int, out: Float32) -> None:
        """p̃ of rows start … stop-1."""
        self._respond(slice(start, stop), out)

    def predict_rows(self, rows: Rows) -> Float32:
        """p̃ of some rows."""
        out = np.empty(len(rows), np.float32)
        self._respond(rows, out)
        return out

    def _respond(self, rows: slice | Rows, out: Float32) -> None:
        theta = np.where(self.last_wave < 0, np.nan, self.ability).astype(np.float32)
        blur = (self.variance * (np.pi / 8)).astype(np.float32)
        group = self.pool.domain_codes[rows] if self.per_domain else 0
        a = self.discrimination[rows]
        np.multiply(a, theta[group], out=out)
        out += self.intercept[rows]
        out /= np.sqrt(1 + blur[group] * a * a)
        np.negative(out, out=out)
        np.exp(np.clip(out, -30, 30), out=out)
        out += 1
        np.reciprocal(out, out=out)

    def grow(self, pool: TaskPool) -> None:
        """New domains start without evidence; items are fitted again."""
        if self._by_number_of_domains:
            # What was learned about the only domain belongs to the first one.
            self.per_domain = len(pool.domains) > 1
        if self.per_domain and (new := len(pool.domains) - len(self.pool.domains)) > 0:
            self.ability = np.append(self.ability, np.full(new, 0.5))
            self.variance = np.append(self.variance, np.ones(new))
            self.dispersion = np.append(self.dispersion, np.full(new, 4.0))
            self.last_wave = np.append(self.last_wave, np.full(new, -1))
        super().grow(pool)
        self._fit_items()

    def state_dict(self) -> dict[str, Any]:
        """The belief about each domain's ability."""
        names = ("ability", "variance", "dispersion")
        return {name: getattr(self, name).copy() for name in names} | {"last_step": self.last_wave.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        restored = {}
        for name, own in self.state_dict().items():
            restored[name] = np.array(state[name], own.dtype)
            if restored[name].shape != own.shape:
                raise ValueError(
                    f"the state holds {restored[name].size} of {name}, this pool needs {own.size}"
                )
        self.last_wave = restored.pop("last_step")
        for name, value in restored.items():
            setattr(self, name, value)

    def metrics(self) -> dict[str, float]:
        """Ability θ, its standard deviation and the dispersion of each domain seen."""
        values = {}
        for g, name in enumerate(self.pool.domains if self.per_domain else ("",)):
            if self.last_wave[g] >= 0:
                suffix = f"/{name}" if name else ""
                values[f"ability{suffix}"] = float(self.ability[g])
                values[f"ability_sd{suffix}"] = float(np.sqrt(self.variance[g]))
                values[f"dispersion{suffix}"] = float(self.dispersion[g])
        return values


def _sigmoid(x: Float64) -> Float64:
    # tanh neither overflows nor underflows.
    return 0.5 * (1 + np.tanh(x / 2))
