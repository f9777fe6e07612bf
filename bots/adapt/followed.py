"""Beliefs of some tasks under every (λ, ρ) of a grid, as if each had been used all along."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from bots.adapt.interface import Predict, PriorCounts
from bots.support.arrays import Float64, Rows
from bots.support.observation import Observation

_ARRAYS = ("rows", "seen", "prior_counts", "beliefs", "history", "pending_slots", "pending_counts")
_NUMBERS: dict[str, type] = {
    "sample": int, "outcomes": int, "clock": int, "gap": int, "waiting": bool, "pending_implicit": float,
}  # fmt: skip


class FollowedTasks:
    """Beliefs of some tasks under each grid point (the update of `bots.belief.update`).

    Its cost does not depend on the pool's size.

    A likelihood needs the history of the observed tasks under every grid point, and K tasks times the grid would
    take far more memory than the beliefs. So `sample` tasks, drawn once uniformly, are tracked exactly from the
    start, and in addition the `recent` tasks observed last, to which later batches return. A task that enters at its
    first observation inherits the implicit history of the tracked tasks with the nearest p̃ (exact if the plug-in's
    predictions moved in parallel), or the prior if its p̃ is NaN. A pool of at most `sample` tasks is tracked
    completely. Memory: (sample + recent)·G·8 bytes.

    A wave may come in parts, which form one update, and skipped waves only forget, as in `Posterior`.
    Evidence that comes after a later wave has begun is added as (1-λ)^age·(1-ρ)·counts, as if p̃ had been
    applied: exact except for tasks that were selected and awaited.

    size: K, tasks in the pool. lams, rhos: the grid's two axes; G = len(lams)·len(rhos), ρ running fastest.
    """

    def __init__(
        self,
        size: int,
        prior: PriorCounts,
        lams: Float64,
        rhos: Float64,
        sample: int,
        recent: int,
        rng: np.random.Generator,
    ) -> None:
        self.size, self.prior, self.recent = size, prior, recent
        self.lams, self.rhos = lams, rhos
        self.grid_lam, self.grid_rho = np.repeat(lams, len(rhos)), np.tile(rhos, len(lams))
        drawn = np.sort(rng.choice(size, min(sample, size), replace=False))
        self.sample = len(drawn)
        spare = min(recent, size - self.sample)
        self.rows = np.concatenate([drawn, np.full(spare, -1, np.int64)])
        """int64 (slots,): the sample's rows, then the recent ones; -1 where empty."""
        self.seen = np.full(len(self.rows), -1, np.int64)
        """int64 (slots,): count of waves when the slot's task was last observed."""
        self.prior_counts = np.ones((2, len(self.rows)), np.float32)
        self._set_prior(slice(0, self.sample), drawn)
        self.beliefs = np.repeat(self.prior_counts[:, :, None], len(self.grid_lam), axis=2)
        """α and β, float32 (2, slots, G)."""
        self.history = np.zeros((2, len(lams), self.sample), np.float32)
        """Forgetting sums of the implicit successes and failures with ρ = 1, of the sample, for each λ."""
        self.outcomes = 0
        """Waves that have begun."""
        self.clock, self.gap = -1, 1
        """The latest wave, and its distance from the one before."""
        self.waiting = False
        """Whether the latest wave's update is still pending."""
        self.pending_slots = np.empty(0, np.int64)
        self.pending_counts = np.empty((2, 0), np.float32)
        self.pending_implicit = 0.0

    def opens(self, wave: int) -> bool:
        """Whether an observation of this wave is the first one later than all before."""
        return wave > self.clock

    def enter(self, rows: Rows, wave: int, predict: Predict) -> Rows:
        """Bring all beliefs up to the previous wave, and return the slots of these rows, int64 (B,).

        Rows that are not yet followed take the place of the recent ones seen longest ago.
        Raises ValueError for more rows than `recent`.
        """
        spare = len(self.rows) - self.sample
        followed_whole = self.sample + spare >= self.size
        if len(rows) > spare and not followed_whole:
            raise ValueError(f"a batch of {len(rows)} tasks does not fit recent={spare}; raise `recent`")
        # Another part of the pending wave joins it, unless it would take the places of the first.
        joins = wave == self.clock and (followed_whole or len(self.pending_slots) + len(rows) <= spare)
        if self.waiting and not joins:
            self._advance(predict)
        return self._slots(rows, predict)

    def keep(self, slots: Rows, observation: Observation, predict: Predict) -> None:
        """Hold an observation until the evidence that comes with it is known, at the next wave's `enter`."""
        counts = np.array([observation.successes, observation.rollouts - observation.successes], np.float32)
        if self.opens(observation.wave):
            self.gap = observation.wave - self.clock if self.clock >= 0 else 1
            self.clock, self.waiting = observation.wave, True
            self.pending_slots, self.pending_counts = slots, counts
            self.pending_implicit = float(observation.implicit_rollouts)
            self.outcomes += 1
        elif self.waiting:
            self.pending_slots = np.append(self.pending_slots, slots)
            self.pending_counts = np.append(self.pending_counts, counts, axis=1)
        else:
            predicted = ~np.isnan(predict(observation.rows))
            left = (1 - self.grid_lam) ** (self.clock - observation.wave) * (
                1 - predicted[:, None] * self.grid_rho
            )
            self.beliefs[:, slots] += (counts[:, :, None] * left).astype(np.float32)
        self.seen[slots] = self.outcomes - 1

    def count(self) -> int:
        """How many tasks are followed."""
        return int(np.count_nonzero(self.rows >= 0))

    def grow(self, size: int, prior: PriorCounts) -> None:
        """The pool has grown to `size` tasks: room for the new ones, followed once they are observed."""
        self.prior, self.size = prior, size
        spare = min(self.recent, size - self.sample) - (len(self.rows) - self.sample)
        if spare > 0:
            self.rows = np.append(self.rows, np.full(spare, -1, np.int64))
            self.seen = np.append(self.seen, np.full(spare, -1, np.int64))
            ones = np.ones((2, spare), np.float32)
            self.prior_counts = np.append(self.prior_counts, ones, axis=1)
            wide = np.ones((2, spare, len(self.grid_lam)), np.float32)
            self.beliefs = np.append(self.beliefs, wide, axis=1)

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes."""
        arrays = {name: getattr(self, name).copy() for name in _ARRAYS}
        return arrays | {name: getattr(self, name) for name in _NUMBERS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        for name in _ARRAYS:
            setattr(self, name, np.array(state[name], getattr(self, name).dtype))
        # Snapshots from before waves were counted: the next wave is the one after.
        known = {"clock": -1, "gap": 1, "waiting": state["outcomes"] > 0} | state
        for name, kind in _NUMBERS.items():
            setattr(self, name, kind(known[name]))

    def _set_prior(self, slots: slice | Rows, rows: Rows) -> None:
        alpha, beta = self.prior(rows)
        self.prior_counts[0, slots], self.prior_counts[1, slots] = alpha, beta

    def _advance(self, predict: Predict) -> None:
        """The previous wave's update, which had to wait for the evidence that came with it."""
        used = np.flatnonzero(self.rows >= 0)
        rate = np.full(len(self.rows), np.nan, np.float32)
        rate[used] = predict(self.rows[used])
        implicit = _implicit(rate, np.float32(self.pending_implicit))
        self.history *= ((1 - self.lams) ** self.gap).astype(np.float32)[:, None]
        self.history += implicit[:, None, : self.sample]
        explicit = np.zeros(len(self.rows), np.bool_)
        explicit[self.pending_slots] = True
        implicit[:, self.pending_slots] = self.pending_counts
        kept = (1 - self.grid_lam) ** self.gap
        _update(self.beliefs, self.prior_counts, implicit, explicit, kept, self.grid_rho)
        self.waiting = False

    def _slots(self, rows: Rows, predict: Predict) -> Rows:
        """The slot of each row; rows not yet followed take the place of the recent ones seen longest ago."""
        # The sample's rows rise; only the recent ones have to be put in order.
        sample, recent = self.rows[: self.sample], self.rows[self.sample :]
        slots: Rows = np.minimum(np.searchsorted(sample, rows), self.sample - 1)
        new = sample[slots] != rows
        if len(recent) and new.any():
            order = np.argsort(recent)
            place = order[np.minimum(np.searchsorted(recent, rows, sorter=order), len(recent) - 1)]
            slots = np.where(new, self.sample + place, slots)
            new = self.rows[slots] != rows
        if not new.any():
            return slots
        taken = np.zeros(len(recent), np.bool_)
        taken[slots[~new & (slots >= self.sample)] - self.sample] = True
        free = self.sample + np.flatnonzero(~taken)
        # Oldest first, and of equals the first: a key without equals, so that no whole sorting is needed.
        wanted = int(new.sum())
        age = self.seen[free] * len(free) + np.arange(len(free))
        if wanted < len(free):
            oldest = np.argpartition(age, wanted)[:wanted]
            free, age = free[oldest], age[oldest]
        free = free[np.argsort(age)]
        slots[new] = free
        self.rows[free] = rows[new]
        self._set_prior(free, rows[new])
        self.beliefs[:, free] = self.prior_counts[:, free, None]
        if self.outcomes:
            self._inherit(free, predict)
        return slots

    def _inherit(self, slots: Rows, predict: Predict) -> None:
        """Give new tasks the implicit history of the sample's tasks with the nearest prediction."""
        rate, known = predict(self.rows[slots]), predict(self.rows[: self.sample])
        order = np.argsort(known, kind="stable")
        order = order[: int(np.count_nonzero(~np.isnan(known)))]
        has = ~np.isnan(rate)
        if not has.any() or len(order) == 0:
            return
        at, past_of = rate[has].astype(np.float64), known[order].astype(np.float64)
        for i in range(len(self.lams)):
            columns = slice(i * len(self.rhos), (i + 1) * len(self.rhos))
            for side in range(2):
                past = np.interp(at, past_of, self.history[side, i, order])
                self.beliefs[side, slots[has], columns] += past[:, None] * self.rhos


@njit(cache=True)  # type: ignore[untyped-decorator]
def _implicit(rate: npt.NDArray[np.float32], rollouts: np.float32) -> npt.NDArray[np.float32]:
    """Implicit successes and failures, float32 (2, S), of predicted pass rates (S,); none where one is NaN."""
    counts = np.zeros((2, len(rate)), np.float32)
    for slot in range(len(rate)):
        if not np.isnan(rate[slot]):
            counts[0, slot] = rate[slot] * rollouts
            counts[1, slot] = (np.float32(1) - rate[slot]) * rollouts
    return counts


@njit(cache=True)  # type: ignore[untyped-decorator]
def _update(
    beliefs: npt.NDArray[np.float32],
    prior: npt.NDArray[np.float32],
    counts: npt.NDArray[np.float32],
    explicit: npt.NDArray[np.bool_],
    kept: Float64,
    rhos: Float64,
) -> None:
    """The posterior update at every grid point, in place: (2, S, G), (2, S), (2, S), (S,), (G,), (G,).

    kept: (1-λ)^waves.
    """
    keep, share = kept.astype(np.float32), rhos.astype(np.float32)
    fresh = (1 - kept).astype(np.float32)
    for side in range(2):
        for slot in range(beliefs.shape[1]):
            start, count = prior[side, slot], counts[side, slot]
            for g in range(beliefs.shape[2]):
                # An observed task gets its n counts whole: (1-ρ)·s + ρ·s.
                add = count if explicit[slot] else share[g] * count
                beliefs[side, slot, g] = keep[g] * beliefs[side, slot, g] + fresh[g] * start + add
