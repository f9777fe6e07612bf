"""Recent waves: which tasks were selected and observed, so that late and repeated evidence is exact."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bots.support.arrays import Rows, distinct
from bots.support.checks import whole


def _none() -> Rows:
    return np.empty(0, np.int64)


@dataclass
class WaveHistory:
    """One selection of tasks and what has arrived for it. All row arrays are sorted and distinct.

    selected: rows selected in this wave. observed: rows whose evidence for this wave has arrived.
    open: selected and not yet observed.
    awaited: rows selected but not yet observed when the wave's implicit evidence was applied; they got none of it.
    counted: whether the wave's first evidence has arrived.
    lam, rho: λ and ρ at that time; lam is the forgetting since the previous counted wave.
    implicit: whether implicit evidence was applied.
    """

    selected: Rows = field(default_factory=_none)
    observed: Rows = field(default_factory=_none)
    open: Rows = field(default_factory=_none)
    awaited: Rows = field(default_factory=_none)
    counted: bool = False
    lam: float = 0.0
    rho: float = 0.0
    implicit: bool = False

    def select(self, rows: Rows) -> None:
        """Add rows selected in this wave."""
        self.selected = distinct(self.selected, rows)
        self.open = np.setdiff1d(self.selected, self.observed, assume_unique=True)

    def observe(self, rows: Rows) -> None:
        """Mark rows whose evidence has arrived."""
        self.observed = distinct(self.observed, rows)
        self.open = np.setdiff1d(self.selected, self.observed, assume_unique=True)

    def awaits(self, rows: Rows) -> bool:
        """Whether all of the sorted rows are open."""
        # The first row alone rules out almost every other wave.
        for part in (rows[:1], rows):
            at = np.searchsorted(self.open, part)
            if at[-1] == len(self.open) or (self.open[at] != part).any():
                return False
        return True


class History:
    """Waves by number; those more than `window` waves behind the clock are dropped.

    clock: the latest wave whose evidence was counted; -1 before the first.
    """

    def __init__(self, window: int) -> None:
        if window < 1:
            raise ValueError(f"history is {window}; it must be at least 1 wave")
        self.window = window
        self.clock = -1
        self.waves: dict[int, WaveHistory] = {}

    @property
    def oldest(self) -> int:
        """The oldest wave whose evidence is still accepted."""
        return max(0, self.clock - self.window + 1)

    def at(self, wave: int) -> WaveHistory:
        """The record of a wave, created on first use."""
        return self.waves.setdefault(wave, WaveHistory())

    def next_wave(self) -> int:
        """The wave after the latest selected or observed one."""
        return max([self.clock, *self.waves]) + 1

    def selectable(self, step: Any) -> int:
        """The wave a selection belongs to: `step`, or the next if it is None.

        Raises ValueError for one too old, or too large for the column `last_step`.
        """
        wave = self.next_wave() if step is None else whole("step", step, 0)
        if wave < self.oldest:
            raise ValueError(f"step {wave} is behind the oldest step still kept, {self.oldest}")
        return _storable(wave)

    def observable(self, step: Any, rows: Rows) -> int:
        """The wave an observation of these rows belongs to: `step`, or `wave_of` if it is None.

        Raises ValueError for one too old, or too large for the column `last_step`.
        """
        wave = self.wave_of(rows) if step is None else whole("step", step, 0)
        if wave < self.oldest:
            raise ValueError(
                f"evidence of step {wave} comes too late: the oldest step still taken is {self.oldest} "
                f"(history={self.window})"
            )
        return _storable(wave)

    def wave_of(self, rows: Rows) -> int:
        """The wave of an observation that does not name one.

        The oldest wave that selected all these rows and still awaits them, else the wave after the clock.
        """
        for wave in sorted(s for s, record in self.waves.items() if len(record.open) >= len(rows)):
            if self.waves[wave].awaits(rows):
                return wave
        return self.clock + 1

    def retention(self, wave: int) -> float:
        """Share of the evidence of `wave` that is left at the clock: Π (1-λ) over the waves in between."""
        counted = sorted(s for s, record in self.waves.items() if record.counted)
        left, previous = 1.0, wave
        for later in counted[bisect_left(counted, wave + 1) :]:
            left *= (1 - self.waves[later].lam) ** (later - previous)
            previous = later
        return left

    def following_lam(self, wave: int) -> float:
        """λ of the first counted wave after `wave`: the forgetting applied across the gap."""
        return self.waves[min(s for s, record in self.waves.items() if record.counted and s > wave)].lam

    def recent(self, wave: int, waves: int) -> Rows:
        """Distinct rows selected or observed in the last `waves` waves before `wave`."""
        found = [
            rows
            for number, record in self.waves.items()
            if wave - waves <= number < wave
            for rows in (record.selected, record.observed)
        ]
        return distinct(*found) if found else _none()

    def prune(self) -> None:
        """Drop the waves behind the window."""
        for wave in [s for s in self.waves if s < self.oldest]:
            del self.waves[wave]

    def state_dict(self) -> dict[str, Any]:
        """Clock and records, as numbers and arrays. The key is "steps" because snapshots in use have it."""
        return {"clock": self.clock, "steps": {str(s): vars(r).copy() for s, r in self.waves.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.clock = state["clock"]
        self.waves = {int(s): WaveHistory(**record) for s, record in state["steps"].items()}


def _storable(wave: int) -> int:
    """The wave, if the column `last_step` can hold it."""
    if wave > np.iinfo(np.int32).max:
        raise ValueError(f"step is {wave}; at most {np.iinfo(np.int32).max} is possible")
    return wave
