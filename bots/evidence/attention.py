"""Attention: DOTS's prediction from the pass rates of a reference set, by the similarity of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from bots.evidence.neighbours import Neighbours
from bots.pool import TaskPool
from bots.support.arrays import Float32, Float64, Rows

EDGE = 1e-4
"""Predictions are kept this far from 0 and 1 before the calibration, as in DOTS's public code."""


class Attention(Neighbours):
    """p̃ is the attention-weighted mean of a reference set's pass rates, calibrated.

    Source: DOTS (Sun et al. 2025, arXiv 2506.05316, section 3.1; public code
    github.com/ASTRAL-Group/data-efficient-llm-rl). With embeddings z of h dimensions and the reference tasks' pass
    rates p̂ᵣ,

        p' = Σ aᵣ·p̂ᵣ,   a = softmax(z·zᵣ/√h),   p̃ = σ(w·logit(p') + b)

    DOTS trains an adapter offline that maps the embeddings of a frozen language model to z, and a network that gives
    w and b from the mean and deviation of the p̂ᵣ. No training data for them can be taken from a pool, so z is the
    adapter's last layer alone: each embedding centred and scaled to variance 1. Store the output of an adapter in
    `column` to use one. w and b start at 1 and 0 and are fitted online, by one gradient step of the log loss for each
    batch, before it joins the reference set.

    DOTS rolls out 256 tasks drawn uniformly before each selection. Here the reference set is the last `memory` tasks
    that training rolled out, which costs nothing but is no random sample. Large pools are predicted by landmarks, as in
    `Neighbours`.

    column: the pool's column of embeddings, a fixed-size list of at least two floats. memory: size of the reference
    set. landmarks: see Neighbours. rate: of the gradient steps; 0 leaves p' as it is.
    """

    name = "evidence 'attention'"

    def __init__(
        self,
        pool: TaskPool,
        column: str = "embedding",
        memory: int = 256,
        landmarks: int = 1024,
        rate: float = 0.1,
    ) -> None:
        if not 0 <= rate <= 1:
            raise ValueError(f"rate is {rate}; it must be in [0, 1], and 0 does not calibrate")
        self.rate, self.scale, self.bias = float(rate), 1.0, 0.0
        super().__init__(pool, column, memory, landmarks, gamma=1.0)
        if self.features.shape[1] < 2:
            raise ValueError(f"column {column!r} has one number for each task; attention needs at least two")

    def _unit(self, rows: Rows | slice) -> Float32:
        """Centred features of length 1, so that z·zᵣ/√h is √h times their product."""
        features = self.features[rows].astype(np.float32)
        features -= features.mean(axis=1, keepdims=True)
        length = np.linalg.norm(features, axis=1, keepdims=True)
        length[length == 0] = np.nan
        unit: Float32 = features / length
        return unit

    def _logit(self, unit: Float32) -> Float64:
        """logit(p') of tasks with the given unit features, (R,)."""
        filled = np.flatnonzero(self.memory_rows >= 0)
        scores = (unit @ self._unit(self.memory_rows[filled]).T).astype(np.float64)
        scores *= np.sqrt(self.features.shape[1])
        scores -= scores.max(axis=1, keepdims=True)
        weights = np.exp(scores)
        mean = weights @ self.memory_rates[filled] / weights.sum(axis=1)
        mean = np.clip(mean, EDGE, 1 - EDGE)
        logit: Float64 = np.log(mean / (1 - mean))
        return logit

    def _attend(self, unit: Float32, temperature: float) -> Float64:
        """p̃ (R,) of tasks with the given unit features; there is no temperature."""
        predicted: Float64 = 1 / (1 + np.exp(-(self.scale * self._logit(unit) + self.bias)))
        return predicted

    def _score(self, unit: Float32, rates: Float64) -> None:
        """One gradient step of the mean log loss."""
        logit = self._logit(unit)
        residual = rates - 1 / (1 + np.exp(-(self.scale * logit + self.bias)))
        self.scale = float(np.clip(self.scale + self.rate * np.mean(residual * logit), 0.1, 10.0))
        self.bias = float(np.clip(self.bias + self.rate * np.mean(residual), -10.0, 10.0))

    def state_dict(self) -> dict[str, Any]:
        """The reference set, w and b."""
        return {**super().state_dict(), "scale": self.scale, "bias": self.bias}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self.scale, self.bias = float(state["scale"]), float(state["bias"])
        super().load_state_dict(state)

    def metrics(self) -> dict[str, float]:
        """w, b, and the size of the reference set."""
        remembered = float(np.count_nonzero(self.memory_rows >= 0))
        return {"scale": self.scale, "bias": self.bias, "remembered": remembered}
