"""What a batch showed, merged by task: the one form in which evidence, adaptor and posterior get it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bots.support.arrays import Float64, Rows


@dataclass(frozen=True, slots=True)
class Observation:
    """The graded groups of one wave, or of a part of it where groups arrive one after the other.

    wave: number of the selection the tasks were drawn in. Usually rises, but a late batch carries an older number;
        parts of one wave carry the same.
    rows: int64 (B,), distinct. Rising where `BOTS.observe` made the observation.
    successes: float64 (B,), each group's summed rewards. rollouts: float64 (B,), each group's size, > 0.
    variance: float64 (B,), variance of the rewards within each group, divided by n (not n-1).
    """

    wave: int
    rows: Rows
    successes: Float64
    rollouts: Float64
    variance: Float64

    @classmethod
    def of_rates(
        cls, wave: int, rows: Rows, pass_rates: npt.ArrayLike, rollouts: npt.ArrayLike
    ) -> Observation:
        """Groups of binary rewards with these pass rates, (B,) or one for all, and sizes, likewise."""
        p = np.broadcast_to(np.asarray(pass_rates, np.float64), rows.shape)
        n = np.broadcast_to(np.asarray(rollouts, np.float64), rows.shape)
        return cls(wave, rows, p * n, n, p * (1 - p))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def failures(self) -> Float64:
        """float64 (B,): rollouts - successes."""
        return self.rollouts - self.successes

    @property
    def pass_rates(self) -> Float64:
        """Observed pass rates p̂ (mean rewards), float64 (B,) in [0, 1]."""
        return self.successes / self.rollouts

    @property
    def implicit_rollouts(self) -> float:
        """n that scales the implicit counts of the tasks outside the batch: the batch's mean."""
        return float(self.rollouts.mean())

    def only(self, chosen: npt.NDArray[np.bool_]) -> Observation:
        """The tasks where `chosen`, bool (B,), is true."""
        return Observation(
            self.wave, self.rows[chosen], self.successes[chosen], self.rollouts[chosen], self.variance[chosen]
        )
