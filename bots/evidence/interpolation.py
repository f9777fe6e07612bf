"""Interpolation between two reference models: the BOTS paper's evidence (arXiv 2510.26374, section 4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from bots.evidence.base import Evidence
from bots.pool import TaskPool
from bots.support.arrays import Float32, Float64, Rows
from bots.support.observation import Observation


class Interpolation(Evidence):
    """p̃ = clip(w + μ̃·(s − w), 0, 1), with w and s the pass rates of a weak and a strong reference model.

    A batch gives μ = (mean p̂ − mean w) / (mean s − mean w), smoothed to μ̃ = γ·μ̃ + (1−γ)·μ;
    the first batch gives μ̃ = μ. Only p̃ is clipped: a policy below the weak model has μ < 0.

    Where this differs from the paper, and why. The paper's ratio explodes when the batch's anchors have nearly
    equal means. μ is an estimate with standard error

        SE = sqrt(v / B) / |mean s − mean w|,   v = max(var(p̂ − w), var(p̂ − s)),

    (delta method; the residual variance of p̂ − w − μ·(s − w) is convex in μ, so v bounds it for all μ in
    [0, 1]). The moving average therefore moves by (1−γ)·κ with κ = min(1, (τ/SE)²): an estimate's weight is
    proportional to its information, capped at the paper's. With SE ≤ τ it moves exactly as in
    the paper, and with a vanishing gap the move vanishes like the gap. Until the information gathered equals that of
    one batch with SE = τ (Σκ ≥ 1), μ̃ is the κ-weighted mean of the μ and is not used for
    prediction; a first batch with SE ≤ τ again gives exactly the paper's μ̃ = μ. v is shrunk
    towards 1/4, the largest variance of a rate, with the weight of one task, because one or two tasks do not
    determine a variance. A batch that is d waves late has κ·γᵈ, the weight it would have had in time.

    Tasks without both anchors are left out of the batch means and have no prediction.

    gamma: γ in [0, 1); 0.9 as in the reference code (unconfirmed in the paper).
    per_domain: a μ̃ for each domain rather than one for the pool. Default: if there are several domains, because
        a policy's position between the two models differs between, say, math and logic, and selection changes each
        domain's share of a batch from wave to wave, which would shift a common μ̃ for no reason.
    tolerance: τ, in units of the distance between weak and strong. At 0.5 the batch tells the two
        models apart at two standard errors; batches of 32 tasks with an anchor gap of 0.2 have SE ≈ 0.25.
    """

    def __init__(
        self, pool: TaskPool, gamma: float = 0.9, per_domain: bool | None = None, tolerance: float = 0.5
    ) -> None:
        super().__init__(pool)
        if not pool.has_anchors:
            raise ValueError(
                "evidence 'interpolation' needs a pool with weak and strong anchors; it has none"
            )
        if not 0 <= gamma < 1:
            raise ValueError(f"gamma is {gamma}; it must be in [0, 1)")
        if not tolerance > 0:
            raise ValueError(f"tolerance is {tolerance}; it must be > 0")
        self.gamma, self.tolerance = gamma, tolerance
        self._by_number_of_domains = per_domain is None
        self.per_domain = len(pool.domains) > 1 if per_domain is None else per_domain
        groups = len(pool.domains) if self.per_domain else 1
        self.capability = np.zeros(groups)
        """μ̃ of each domain, float64; meaningful once its `weight` is 1."""
        self.weight = np.zeros(groups)
        """Information gathered so far in units of a well-determined batch, float64 in [0, 1]."""
        self.last_wave = 0

    def observe(self, observation: Observation) -> None:
        """Move μ̃ of the domains in the batch."""
        rows, p_hat = observation.rows, observation.pass_rates
        weak, strong = self.pool.weak[rows].astype(np.float64), self.pool.strong[rows].astype(np.float64)
        known = ~np.isnan(weak + strong)
        group = self.pool.domain_codes[rows] if self.per_domain else np.zeros(len(rows), np.int16)
        delay = max(0, self.last_wave - observation.wave)
        self.last_wave = max(self.last_wave, observation.wave)
        for g in np.unique(group[known]).tolist():
            chosen = known & (group == g)
            above_weak, gaps = p_hat[chosen] - weak[chosen], strong[chosen] - weak[chosen]
            self._step(g, above_weak, gaps, self.gamma**delay)

    def _step(self, group: int, above_weak: Float64, gaps: Float64, in_time: float) -> None:
        """One batch of one domain: p̂ − w and s − w of its tasks, (B,)."""
        size, gap = len(gaps), float(gaps.mean())
        spread = max(float(np.var(above_weak)), float(np.var(above_weak - gaps)))
        variance = (size * spread + 0.25) / (size + 1)
        information = min(1.0, self.tolerance**2 * gap**2 * size / variance) * in_time
        if information == 0:  # also where gap² underflows: μ would overflow
            return
        mu = float(above_weak.mean()) / gap
        gathered = self.weight[group]
        if gathered < 1:
            # As a ratio of sums, so that a huge μ without information cannot cancel the digits of the next one.
            total = gathered + information
            self.capability[group] = (gathered * self.capability[group] + information * mu) / total
            self.weight[group] = min(1.0, total)
        else:
            gain = (1 - self.gamma) * information
            self.capability[group] = (1 - gain) * self.capability[group] + gain * mu

    def predict(self, start: int, stop: int, out: Float32) -> None:
        """p̃ of rows start … stop-1."""
        self._interpolate(slice(start, stop), out)

    def predict_rows(self, rows: Rows) -> Float32:
        """p̃ of some rows."""
        out = np.empty(len(rows), np.float32)
        self._interpolate(rows, out)
        return out

    def _interpolate(self, rows: slice | Rows, out: Float32) -> None:
        weak = self.pool.weak[rows]
        capability = np.where(self.weight >= 1, self.capability, np.nan).astype(np.float32)
        np.subtract(self.pool.strong[rows], weak, out=out)
        out *= capability[self.pool.domain_codes[rows]] if self.per_domain else capability[0]
        out += weak
        np.clip(out, 0, 1, out=out)

    def grow(self, pool: TaskPool) -> None:
        """New domains start without evidence."""
        if self._by_number_of_domains:
            # What was learned about the only domain belongs to the first one.
            self.per_domain = len(pool.domains) > 1
        if self.per_domain and (new := len(pool.domains) - len(self.pool.domains)) > 0:
            self.capability = np.append(self.capability, np.zeros(new))
            self.weight = np.append(self.weight, np.zeros(new))
        super().grow(pool)

    def state_dict(self) -> dict[str, Any]:
        """μ̃, its information, and the newest wave."""
        return {
            "capability": self.capability.copy(),
            "weight": self.weight.copy(),
            "last_step": self.last_wave,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        capability, weight = np.array(state["capability"], np.float64), np.array(state["weight"], np.float64)
        if capability.shape != self.capability.shape or weight.shape != self.weight.shape:
            raise ValueError(
                f"the state holds {capability.size} capabilities, this pool needs {self.capability.size}"
            )
        self.capability, self.weight, self.last_wave = capability, weight, int(state["last_step"])

    def metrics(self) -> dict[str, float]:
        """μ̃ of each domain that has one."""
        names = self.pool.domains if self.per_domain else ("",)
        return {
            f"capability/{name}" if name else "capability": float(mu)
            for name, mu, weight in zip(names, self.capability, self.weight, strict=True)
            if weight >= 1
        }
