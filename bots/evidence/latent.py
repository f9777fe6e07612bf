"""Latent: one small model of all tasks, whose few latent numbers follow the policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bots.evidence.base import Evidence
from bots.evidence.neighbours import features_of
from bots.pool import TaskPool
from bots.support.arrays import Float32, Float64, Rows
from bots.support.observation import Observation

NEWTON = 8
"""Newton steps for each batch; the posterior is log-concave, and fewer suffice."""


class Latent(Evidence):
    """p̃ = E σ(z·x): a logistic model of the tasks' features x with latent weights z shared by all tasks.

    In the spirit of GPS (Qu et al. 2026, arXiv 2602.01970): a latent z_t, inferred from the history of all tasks with a
    prior that follows the last batch, and a decoder that gives a task's success rate from its embedding and z_t. GPS's
    prior, posterior and decoder are networks of 20 million parameters, trained on the evidence lower bound as training
    goes on. This is their linear Gaussian case, which needs no training and is exact up to Laplace's approximation:

        z_t ~ N(z_{t-1}, drift·I),   the batch's pass rates ~ σ(z_t·x), each task counted once

    A task's x is 1 and its embedding, projected at random to `dimensions` numbers if it has more, and scaled so that
    they have mean 0 and variance 1 over the pool. The expectation over z uses MacKay's approximation (1992, eq. 10).
    Memory: 4·(dimensions + 1) bytes per task. Tasks without an embedding get the prediction of the mean embedding.
    Before the first batch nothing is predicted.

    column: the pool's column of embeddings, a fixed-size list of floats. dimensions: at most this many. drift: variance
    that z gains in a wave. spread: prior variance of z.
    """

    def __init__(
        self,
        pool: TaskPool,
        column: str = "embedding",
        dimensions: int = 16,
        drift: float = 0.01,
        spread: float = 1.0,
    ) -> None:
        super().__init__(pool)
        if isinstance(dimensions, bool) or not isinstance(dimensions, int) or dimensions < 1:
            raise ValueError(f"dimensions is {dimensions!r}; it must be a whole number of at least 1")
        for name, value, least in (("drift", drift, 0.0), ("spread", spread, 1e-12)):
            if not least <= value < np.inf:
                raise ValueError(f"{name} is {value}; it must be a finite number ≥ {least:g}")
        self.column, self.dimensions, self.drift = column, dimensions, float(drift)
        features = features_of(pool, column, "evidence 'latent'")
        width = features.shape[1]
        if width > dimensions:
            rng = np.random.default_rng(width)
            self._project: Float64 = rng.normal(0, 1 / np.sqrt(dimensions), (width, dimensions))
        else:
            self._project = np.eye(width)
        self._center, self._scale = np.zeros(self._project.shape[1]), np.ones(self._project.shape[1])
        projected = self._embed(features)
        known = projected[~np.isnan(projected[:, 1])][:, 1:]
        if len(known):
            self._center = known.mean(axis=0, dtype=np.float64)
            deviation = known.std(axis=0, dtype=np.float64)
            self._scale = np.where(deviation > 0, deviation, 1.0)
        self._set_x(features)
        size = self._project.shape[1] + 1
        self.mean: Float64 = np.zeros(size)
        """Posterior mean of z."""
        self.covariance: Float64 = spread * np.eye(size)
        """Posterior covariance of z."""
        self.wave, self.batches = -1, 0

    def _embed(self, features: npt.NDArray[Any]) -> Float32:
        """x of the features, float32 (R, d+1); NaN but for the 1 where there is no embedding."""
        projected = (features.astype(np.float64) @ self._project - self._center) / self._scale
        projected[~features.any(axis=1)] = np.nan
        ones = np.ones((len(features), 1))
        x: Float32 = np.concatenate([ones, projected], axis=1).astype(np.float32)
        return x

    def _set_x(self, features: npt.NDArray[Any]) -> None:
        self.x: Float32 = np.nan_to_num(self._embed(features), nan=0.0)

    def observe(self, observation: Observation) -> None:
        """Let z drift to the wave, and update it by the batch."""
        waves = max(0, observation.wave - self.wave) if self.batches else 0
        self.wave = max(self.wave, observation.wave)
        # A late batch finds z as it is now. More drift than this leaves nothing of the past anyway.
        prior = self.covariance + self.drift * min(waves, 10_000) * np.eye(len(self.mean))
        precision = np.linalg.inv(prior)
        x, rates = self.x[observation.rows].astype(np.float64), observation.pass_rates
        z = self.mean.copy()
        for _ in range(NEWTON):
            p = _sigmoid(x @ z)
            gradient = x.T @ (rates - p) - precision @ (z - self.mean)
            hessian = (x.T * (p * (1 - p))) @ x + precision
            step = np.linalg.solve(hessian, gradient)
            z += step / max(
                1.0, float(np.abs(x @ step).max()) / 4
            )  # no step beyond where the curvature still holds
        p = _sigmoid(x @ z)
        covariance = np.linalg.inv((x.T * (p * (1 - p))) @ x + precision)
        self.mean, self.covariance = z, (covariance + covariance.T) / 2
        self.batches += 1

    def _rates(self, x: Float32) -> Float32:
        if not self.batches:
            return np.full(len(x), np.nan, np.float32)
        mean = x @ self.mean.astype(np.float32)
        variance = np.einsum("ki,ki->k", x @ self.covariance.astype(np.float32), x)
        return _sigmoid(mean / np.sqrt(1 + np.pi / 8 * np.maximum(variance, 0))).astype(np.float32)

    def predict(self, start: int, stop: int, out: Float32) -> None:
        """p̃ of rows start … stop-1."""
        out[:] = self._rates(self.x[start:stop])

    def predict_rows(self, rows: Rows) -> Float32:
        """p̃ of some rows."""
        return self._rates(self.x[rows])

    def grow(self, pool: TaskPool) -> None:
        """New tasks are projected and scaled as the old ones."""
        self._set_x(features_of(pool, self.column, "evidence 'latent'"))
        super().grow(pool)

    def state_dict(self) -> dict[str, Any]:
        """The posterior of z, and how the features are scaled."""
        own = {"mean": self.mean.copy(), "covariance": self.covariance.copy()}
        scaled = {"center": self._center.copy(), "scale": self._scale.copy()}
        return {**own, **scaled, "wave": self.wave, "batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        if len(state["mean"]) != len(self.mean):
            raise ValueError(
                f"the state has {len(state['mean']) - 1} dimensions; this plug-in has {len(self.mean) - 1}"
            )
        self.mean, self.covariance = np.array(state["mean"]), np.array(state["covariance"])
        self._center, self._scale = np.array(state["center"]), np.array(state["scale"])
        self.wave, self.batches = int(state["wave"]), int(state["batches"])
        self._set_x(features_of(self.pool, self.column, "evidence 'latent'"))

    def metrics(self) -> dict[str, float]:
        """The latent mean rate of a task with the mean embedding, and the posterior deviation of z."""
        deviation = float(np.sqrt(np.trace(self.covariance) / len(self.mean)))
        return {"rate": float(_sigmoid(self.mean[:1])[0]), "deviation": deviation}


def _sigmoid(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    value: npt.NDArray[Any] = 0.5 * (1 + np.tanh(x / 2))
    return value
