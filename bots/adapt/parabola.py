"""p* where the learning signal is: the vertex of signal against predicted pass rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bots.support.arrays import Float64
from bots.support.observation import Observation


class SignalParabola:
    """A forgetting least-squares parabola of signal against predicted pass rate.

    Within each batch the signal v (unbiased variance of the group's rewards) is regressed on the predicted mean
    q, v ≈ a + b·q + c·q², with pseudo-data of the textbook curve v = ¼ − (q − p*₀)², as heavy as `weight` tasks.
    Where beliefs lag behind an improving policy, or rewards are not binary, the best believed rate is not the
    nominal one.
    """

    def __init__(self, p_star: float, weight: float = 32.0) -> None:
        q = p_star + np.array([-0.3, 0.0, 0.3])
        powers = q[:, None] ** np.arange(3)
        self._pseudo_moments = weight / 3 * powers.T @ powers
        self._pseudo_response = weight / 3 * powers.T @ (0.25 - (q - p_star) ** 2)
        self.moments, self.response = np.zeros((3, 3)), np.zeros(3)

    def observe(self, predicted: Float64, observation: Observation, discount: float) -> None:
        """Add one batch. predicted: means (B,) before the observation."""
        usable = observation.rollouts > 1  # one rollout shows no variance
        n = observation.rollouts[usable]
        powers = predicted[usable, None] ** np.arange(3)
        signal = observation.variance[usable] * n / (n - 1)
        self.moments = discount * self.moments + powers.T @ powers
        self.response = discount * self.response + powers.T @ signal

    def vertex(self) -> float | None:
        """The predicted rate with the most signal, −b/2c; None while the parabola opens upwards."""
        _, b, c = np.linalg.solve(self.moments + self._pseudo_moments, self.response + self._pseudo_response)
        return float(-b / (2 * c)) if c < 0 else None

    def state_dict(self) -> dict[str, npt.NDArray[np.float64]]:
        """Everything that changes."""
        return {"moments": self.moments.copy(), "response": self.response.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self.moments = np.array(state["moments"], np.float64)
        self.response = np.array(state["response"], np.float64)
