"""Compiled: tasks' states one step on in a hidden Markov model, without observations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.support.arrays import Float64
from bots.support.compile import compiled


@compiled
def advance(
    counts: Float64,
    before: Float64,
    state: Float64,
    due: npt.NDArray[np.int64],
    wave: int,
    most: int,
    retention: float,
    prior: float,
) -> None:
    """Predict the states at `wave`, in place: A ← γA + (1-γ)A₀, µ ← π, π ← P π for each wave in between.

    counts: A, (M, S, S), next state by state now. before: µ, state: π, (M, S). due: (M,), the wave that π is for.
    most: waves after which the state counts as settled. retention: γ. prior: A₀. P is A with its columns scaled to 1.
    """
    states = state.shape[1]
    for k in range(len(state)):
        for _ in range(min(wave - due[k], most)):
            for j in range(states):
                before[k, j] = state[k, j]
                state[k, j] = 0.0
            for j in range(states):
                total = 0.0
                for i in range(states):
                    counts[k, i, j] = retention * counts[k, i, j] + (1.0 - retention) * prior
                    total += counts[k, i, j]
                for i in range(states):
                    state[k, i] += counts[k, i, j] / total * before[k, j]
        due[k] = max(due[k], wave)
