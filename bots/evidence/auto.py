"""The best evidence the pool allows: interpolation where anchors are known, else means of levels."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from bots.evidence.base import Evidence
from bots.evidence.interpolation import Interpolation
from bots.evidence.online import Online
from bots.pool import TaskPool
from bots.support.arrays import Float32, Rows
from bots.support.observation import Observation

GROUPS = ("domain", "level")


class Auto(Evidence):
    """The best evidence available for each task; with all anchors known it is the paper's.

    - Tasks with both anchors get the prediction of `Interpolation`.
    - Others get that of `Online` by domain and level, if the pool has levels. It learns from all tasks.
    - Without levels they get none. Means of whole domains say too little about a task: on the simulated lab they
      were no better than no evidence (docs/selection.md). A pool with only such tasks raises a warning.

    gamma, per_domain, tolerance: of `Interpolation`. strength: of `Online`.
    """

    def __init__(
        self,
        pool: TaskPool,
        gamma: float = 0.9,
        per_domain: bool | None = None,
        tolerance: float = 0.5,
        strength: float = 4.0,
    ) -> None:
        super().__init__(pool)
        self._options: dict[str, Any] = {"gamma": gamma, "per_domain": per_domain, "tolerance": tolerance}
        self._strength = strength
        self.interpolation: Interpolation | None = None
        self.online: Online | None = None
        """None if it has nothing to predict."""
        self._add_parts(pool)
        if not self._parts:
            warnings.warn(
                "the pool has neither anchors nor levels, so there is no implicit evidence: a task's belief rests on "
                "its own rollouts only. Add weak and strong pass rates, or a column 'level'; with neither, lam=0 works "
                "better than forgetting. evidence='none' silences this warning",
                stacklevel=2,
            )

    def _add_parts(self, pool: TaskPool) -> None:
        if self.interpolation is None and pool.has_anchors:
            self.interpolation = Interpolation(pool, **self._options)
        if self.online is None and pool.has_levels and pool.anchored < len(pool):
            self.online = Online(pool, GROUPS, strength=self._strength)

    @property
    def _parts(self) -> dict[str, Evidence]:
        parts = {"interpolation": self.interpolation, "online": self.online}
        return {name: part for name, part in parts.items() if part is not None}

    def observe(self, observation: Observation) -> None:
        """Both learn from the whole batch."""
        for part in self._parts.values():
            part.observe(observation)

    def predict(self, start: int, stop: int, out: Float32) -> None:
        """p̃ of rows start … stop-1."""
        if self.interpolation is None:
            out.fill(np.nan)
        else:
            self.interpolation.predict(start, stop, out)
        if self.online is not None:
            rest = self._without_anchors(slice(start, stop), len(out))
            out[rest] = self.online.predict_rows(start + np.flatnonzero(rest))

    def predict_rows(self, rows: Rows) -> Float32:
        """p̃ of some rows."""
        known = self.interpolation
        out = np.full(len(rows), np.nan, np.float32) if known is None else known.predict_rows(rows)
        if self.online is not None:
            rest = self._without_anchors(rows, len(rows))
            out[rest] = self.online.predict_rows(rows[rest])
        return out

    def _without_anchors(self, rows: slice | Rows, size: int) -> npt.NDArray[np.bool_]:
        """bool (size,): rows of which a reference pass rate is unknown."""
        if self.interpolation is None:
            return np.ones(size, np.bool_)
        unknown: npt.NDArray[np.bool_] = np.isnan(self.pool.weak[rows] + self.pool.strong[rows])
        return unknown

    def grow(self, pool: TaskPool) -> None:
        """The first task with anchors, or with a level but no anchors, adds a part that starts from nothing."""
        super().grow(pool)
        for part in self._parts.values():
            part.grow(pool)
        self._add_parts(pool)

    def state_dict(self) -> dict[str, Any]:
        """Those of the parts, `part/name`."""
        return {
            f"{part}/{name}": value
            for part, evidence in self._parts.items()
            for name, value in evidence.state_dict().items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        names = {key.partition("/")[0] for key in state}
        if names != self._parts.keys():
            raise ValueError(
                f"the state is of {', '.join(sorted(names)) or 'nothing'}; this pool's evidence is of "
                f"{', '.join(self._parts) or 'nothing'}"
            )
        for part, evidence in self._parts.items():
            own = {key.partition("/")[2]: value for key, value in state.items() if key.startswith(f"{part}/")}
            evidence.load_state_dict(own)

    def metrics(self) -> dict[str, float]:
        """Those of the parts."""
        return {name: value for part in self._parts.values() for name, value in part.metrics().items()}
