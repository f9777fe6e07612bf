"""The posterior update (arXiv 2510.26374): forgetting, explicit and implicit evidence, in any order."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from bots.belief.columns import BLOCK, Beliefs
from bots.belief.history import History, WaveHistory
from bots.evidence.base import Evidence, checked_predict, checked_predict_rows
from bots.support.arrays import Rows
from bots.support.observation import Observation


class Posterior:
    """Applies each wave's evidence to the beliefs.

    At wave t (the paper's step t), s and f being the counts of the batch's tasks and p̃ all others' implicit pass
    rates,

        α ← (1-λ)·α + λ·α0 + (1-ρ)·s + ρ·s̃        s̃ = s in the batch, n·p̃ elsewhere, 0 without p̃
        β ← (1-λ)·β + λ·β0 + (1-ρ)·f + ρ·f̃        f̃ = f in the batch, n·(1-p̃) elsewhere, 0 without p̃

    n is the mean number of rollouts of the wave's tasks. The evidence of a wave fades by (1-λ) with each later
    wave, no matter when it arrives:

    - The first evidence of a wave moves the clock there. Skipped waves only forget.
    - Evidence of an older wave is added as (1-λ)^age · (…), which leaves α and β as if it had come in time. Only
      the evidence plug-in, which learns in order of arrival, may have predicted slightly differently.
    - Implicit evidence is applied once per wave, with the wave's first evidence, and not to tasks that the wave
      selected and still awaits; those get exactly their counts when they arrive. A late task that the wave had not
      selected has already spent its ρ share on p̃ and gets (1-ρ)·s.
    - A task's evidence counts once per wave: repeated (wave, task) pairs are ignored.

    forgetting: "step", as above, or "observation": a task forgets only when it is observed itself (the
        retention form of MoPPS, with retention 1-λ), without implicit evidence.
    threads: update blocks processed in parallel; None: one per usable core, at most 8.
    """

    def __init__(
        self,
        beliefs: Beliefs,
        evidence: Evidence | None,
        history: History,
        forgetting: str = "step",
        threads: int | None = None,
    ) -> None:
        self.beliefs = beliefs
        self.evidence = evidence
        self.history = history
        self.forgetting = forgetting
        self.threads = threads or min(8, len(os.sched_getaffinity(0)))
        self._workers: ThreadPoolExecutor | None = None

    def new(self, observation: Observation) -> Observation:
        """The observation without the (wave, task) pairs that were already counted."""
        counted = self.history.at(observation.wave).observed
        return observation.only(~np.isin(observation.rows, counted, assume_unique=True))

    def update(self, observation: Observation, lam: float, rho: float) -> None:
        """Apply one new observation; the evidence plug-in must already have seen it."""
        history, beliefs = self.history, self.beliefs
        wave, rows = observation.wave, observation.rows
        record = history.at(wave)
        successes, failures = observation.successes, observation.failures
        if self.forgetting == "observation":
            alpha0, beta0 = beliefs.prior.at(rows)
            beliefs.alpha[rows] = (1 - lam) * beliefs.alpha[rows] + lam * alpha0 + successes
            beliefs.beta[rows] = (1 - lam) * beliefs.beta[rows] + lam * beta0 + failures
            history.clock = max(history.clock, wave)
        elif record.counted:
            left = history.retention(wave) * self._open_share(record, rows)
            beliefs.alpha[rows] += left * successes
            beliefs.beta[rows] += left * failures
        else:
            self._first_of_wave(record, observation, lam, rho)
        record.counted = True
        record.observe(rows)
        beliefs.note(observation)
        history.prune()

    def _first_of_wave(self, record: WaveHistory, observation: Observation, lam: float, rho: float) -> None:
        """Forget up to a new wave, or go back to a skipped one; apply evidence to every task."""
        history, beliefs = self.history, self.beliefs
        wave, rows = observation.wave, observation.rows
        if wave > history.clock:
            # Before the first evidence there is only the prior, and nothing to forget.
            waves = wave - history.clock if history.clock >= 0 else 1
            keep, scale = (1 - lam) ** waves, 1.0
            record.lam = lam
            history.clock = wave
        else:
            keep, scale = 1.0, history.retention(wave)
            record.lam = history.following_lam(wave)
        record.rho = rho
        record.implicit = self.evidence is not None and rho > 0
        record.awaited = np.setdiff1d(record.selected, rows, assume_unique=True)
        gain = scale * rho * observation.implicit_rollouts if record.implicit else 0.0
        spared = np.concatenate([rows, record.awaited])
        alpha, beta = beliefs.alpha[spared], beliefs.beta[spared]
        if gain > 0 or keep < 1:
            self._sweep(keep, gain)
        alpha0, beta0 = beliefs.prior.at(spared)
        alpha = keep * alpha + (1 - keep) * alpha0
        beta = keep * beta + (1 - keep) * beta0
        alpha[: len(rows)] += scale * observation.successes
        beta[: len(rows)] += scale * observation.failures
        beliefs.alpha[spared], beliefs.beta[spared] = alpha, beta

    def _open_share(self, record: WaveHistory, rows: Rows) -> npt.NDArray[np.float64]:
        """Share of their counts that later groups of a counted wave may still add: 1, or 1-ρ."""
        share = np.ones(len(rows))
        if record.implicit and self.evidence is not None:
            spent = ~np.isin(rows, record.awaited, assume_unique=True)
            spent &= ~np.isnan(checked_predict_rows(self.evidence, rows))
            share[spent] = 1 - record.rho
        return share

    def _sweep(self, keep: float, gain: float) -> None:
        """Update every task, block by block, as if none were in the batch."""
        from bots.belief.kernels import update_block  # numba takes a while to import

        beliefs, prior, evidence = self.beliefs, self.beliefs.prior, self.evidence

        def update(first: int, last: int) -> None:
            scratch = np.empty(BLOCK if gain > 0 else 0, np.float32)
            for block in range(first, last):
                start, stop = block * BLOCK, min((block + 1) * BLOCK, len(beliefs))
                implicit = scratch[: stop - start]
                if gain > 0 and evidence is not None:
                    checked_predict(evidence, start, stop, implicit)
                update_block(
                    beliefs.alpha[start:stop],
                    beliefs.beta[start:stop],
                    implicit,
                    keep,
                    gain,
                    prior.kind,
                    prior.table_alpha,
                    prior.table_beta,
                    prior.codes[start:stop],
                    prior.task_alpha[start:stop],
                    prior.task_beta[start:stop],
                )

        # No task's mass exceeds this recursion; the factor covers rounding.
        reach = keep * beliefs.block_mass + (1 - keep) * beliefs.block_prior_mass + gain
        beliefs.block_mass[:] = reach * (1 + 1e-12)
        blocks = len(beliefs.block_mass)
        if self.threads == 1 or blocks < 8:  # threads cost more than they gain on less
            update(0, blocks)
            return
        if self._workers is None:
            self._workers = ThreadPoolExecutor(self.threads, "posterior")
        chunk = max(1, -(-blocks // (4 * self.threads)))
        bounds = range(0, blocks, chunk)
        for _ in self._workers.map(update, bounds, (min(b + chunk, blocks) for b in bounds)):
            pass
