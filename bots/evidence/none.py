"""No implicit evidence: only a task's own rollouts change its belief."""

from __future__ import annotations

import numpy as np

from bots.evidence.base import Evidence
from bots.support.arrays import Float32, Rows
from bots.support.observation import Observation


class NoEvidence(Evidence):
    """Predicts nothing for any task, as MoPPS does (arXiv 2507.04632)."""

    def observe(self, observation: Observation) -> None:
        """Learns nothing."""

    def predict(self, start: int, stop: int, out: Float32) -> None:
        """NaN everywhere."""
        out.fill(np.nan)

    def predict_rows(self, rows: Rows) -> Float32:
        """NaN everywhere."""
        return np.full(len(rows), np.nan, np.float32)
