"""The posterior update (ALGORITHM section 2): forgetting, explicit and implicit evidence, in any order."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from bots.belief.columns import BLOCK, Beliefs
from bots.belief.history import History, Step
from bots.belief.rewards import Groups
from bots.evidence.base import Evidence
from bots.support.arrays import Rows


class Posterior:
    """Applies each step's evidence to the beliefs.

    At step t, with s and f the counts of the batch's tasks and p̃ the implicit pass rates of all others,

        α ← (1-λ)·α + λ·α0 + (1-ρ)·s + ρ·s̃        s̃ = s in the batch, n·p̃ elsewhere, 0 without p̃
        β ← (1-λ)·β + λ·β0 + (1-ρ)·f + ρ·f̃        f̃ = f in the batch, n·(1-p̃) elsewhere, 0 without p̃

    n is the mean number of rollouts of the step's tasks. What a task gets for a step fades by (1-λ) with each
    later step, whenever it arrives:

    - The first evidence of a step moves the clock there. Steps left out in between only forget.
    - Evidence of an older step ends up where it would have been: its contribution (1-λ)^age · (…) is added.
      Only the evidence plug-in, which learns in the order of arrival, may have predicted a little otherwise.
    - Implicit evidence of a step is given once, with the step's first evidence, and not to tasks that were
      selected for that step and are still awaited; these get exactly their counts when they come. If a task
      comes late that nobody had selected, its ρ share is already spent on p̃, and it gets (1-ρ)·s.
    - A task's evidence of one step is counted once: repeated (step, task) pairs are left out.

    forgetting: "step", as above, or "observation": a task forgets only when it is observed itself (the
        retention form of MoPPS, with retention 1-λ); there is no implicit evidence then.
    threads: how many update blocks at the same time; None: one per usable core, at most 8.
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

    def new_groups(self, step: int, groups: Groups) -> Groups:
        """The groups without the (step, task) pairs that were already counted."""
        fresh = ~np.isin(groups.rows, self.history.at(step).observed, assume_unique=True)
        return Groups(
            groups.rows[fresh], groups.successes[fresh], groups.rollouts[fresh], groups.variance[fresh]
        )

    def update(self, step: int, groups: Groups, lam: float, rho: float) -> None:
        """Apply one step's new groups; the evidence plug-in must already have seen them."""
        history, beliefs = self.history, self.beliefs
        record = history.at(step)
        rows = groups.rows
        successes, failures = groups.successes, groups.rollouts - groups.successes
        if self.forgetting == "observation":
            alpha0, beta0 = beliefs.prior.at(rows)
            beliefs.alpha[rows] = (1 - lam) * beliefs.alpha[rows] + lam * alpha0 + successes
            beliefs.beta[rows] = (1 - lam) * beliefs.beta[rows] + lam * beta0 + failures
            history.clock = max(history.clock, step)
        elif record.counted:
            left = history.retention(step) * self._open_share(record, rows)
            beliefs.alpha[rows] += left * successes
            beliefs.beta[rows] += left * failures
        else:
            self._first_of_step(step, record, groups, lam, rho)
        record.counted = True
        record.observe(rows)
        self._note(step, groups)
        history.prune()

    def _first_of_step(self, step: int, record: Step, groups: Groups, lam: float, rho: float) -> None:
        """Forget up to a new step, or go back to one that was left out; give evidence to every task."""
        history, beliefs, rows = self.history, self.beliefs, groups.rows
        if step > history.clock:
            # Before the first evidence there is nothing but the prior, and nothing to forget.
            steps = step - history.clock if history.clock >= 0 else 1
            keep, scale = (1 - lam) ** steps, 1.0
            record.lam = lam
            history.clock = step
        else:
            keep, scale = 1.0, history.retention(step)
            record.lam = history.following_lam(step)
        record.rho = rho
        record.implicit = self.evidence is not None and rho > 0
        record.awaited = np.setdiff1d(record.selected, rows, assume_unique=True)
        gain = scale * rho * float(groups.rollouts.mean()) if record.implicit else 0.0
        spared = np.concatenate([rows, record.awaited])
        alpha, beta = beliefs.alpha[spared], beliefs.beta[spared]
        if gain > 0 or keep < 1:
            self._sweep(keep, gain)
        alpha0, beta0 = beliefs.prior.at(spared)
        alpha = keep * alpha + (1 - keep) * alpha0
        beta = keep * beta + (1 - keep) * beta0
        alpha[: len(rows)] += scale * groups.successes
        beta[: len(rows)] += scale * (groups.rollouts - groups.successes)
        beliefs.alpha[spared], beliefs.beta[spared] = alpha, beta

    def _open_share(self, record: Step, rows: Rows) -> npt.NDArray[np.float64]:
        """What share of their counts later groups of a counted step still may add: 1, or 1-ρ."""
        share = np.ones(len(rows))
        if record.implicit and self.evidence is not None:
            spent = ~np.isin(rows, record.awaited, assume_unique=True)
            spent &= ~np.isnan(self.evidence.predict_rows(rows))
            share[spent] = 1 - record.rho
        return share

    def _sweep(self, keep: float, gain: float) -> None:
        """Update every task by blocks, as if none were in the batch."""
        from bots.belief.kernels import update_block  # numba takes a while to import

        beliefs, prior, evidence = self.beliefs, self.beliefs.prior, self.evidence

        def update(first: int, last: int) -> None:
            scratch = np.empty(BLOCK if gain > 0 else 0, np.float32)
            for block in range(first, last):
                start, stop = block * BLOCK, min((block + 1) * BLOCK, len(beliefs))
                implicit = scratch[: stop - start]
                if gain > 0 and evidence is not None:
                    evidence.predict(start, stop, implicit)
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

        # Each task's mass follows this recursion, or gets less; the factor covers rounding.
        reach = keep * beliefs.block_mass + (1 - keep) * beliefs.block_prior_mass + gain
        beliefs.block_mass[:] = reach * (1 + 1e-12)
        blocks = len(beliefs.block_mass)
        if self.threads == 1 or blocks < 8:  # handing out less costs more than it gains
            update(0, blocks)
            return
        if self._workers is None:
            self._workers = ThreadPoolExecutor(self.threads, "posterior")
        chunk = max(1, -(-blocks // (4 * self.threads)))
        bounds = range(0, blocks, chunk)
        for _ in self._workers.map(update, bounds, (min(b + chunk, blocks) for b in bounds)):
            pass

    def _note(self, step: int, groups: Groups) -> None:
        """Columns that only observed tasks change, and the mass bound of their blocks."""
        beliefs, rows = self.beliefs, groups.rows
        np.maximum.at(beliefs.block_mass, rows // BLOCK, beliefs.alpha[rows] + beliefs.beta[rows])
        beliefs.last_step[rows] = np.maximum(beliefs.last_step[rows], step)
        beliefs.observations[rows] += 1
        mean = groups.successes / groups.rollouts
        greatest = mean * (1 - mean)
        told = greatest > 0
        ratio = np.minimum(groups.variance[told] / greatest[told], 1)
        old = beliefs.dispersion[rows[told]]
        beliefs.dispersion[rows[told]] = np.where(np.isnan(old), ratio, (old + ratio) / 2)
