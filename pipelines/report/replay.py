"""The beliefs of a past run, recomputed from its recorded rewards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bots import BOTS, TaskPool
from bots.belief.bins import age_bins, batch_bins, pool_bins
from bots.config.train import SelectionConfig
from pipelines.report.recorded import Groups
from pipelines.report.run import Floats, Run

TRACKED_POINTS = 60
LARGEST = 3_000_000_000
"""Largest number of task updates (tasks x steps) of a replay; it takes about a minute."""


@dataclass(frozen=True)
class Replay:
    """The beliefs at each step.

    records: as written by `bots.belief.bins`, by step. predicted, observed, rollouts: (G,), per group, predicted before
    it was observed. at: (T,), steps at which the tracked tasks' beliefs were read. mean, deviation: (tasks, T).
    """

    records: list[dict[str, object]]
    predicted: Floats
    observed: Floats
    rollouts: npt.NDArray[np.int64]
    at: list[int]
    mean: Floats
    deviation: Floats
    alpha: Floats
    beta: Floats

    def differs(self, beliefs: pa.Table) -> float:
        """Largest relative difference of α or β from the run's own final beliefs."""
        pairs = ((self.alpha, beliefs["alpha"].to_numpy()), (self.beta, beliefs["beta"].to_numpy()))
        return max(float(np.max(np.abs(ours - theirs) / theirs)) for ours, theirs in pairs)


def replay(run: Run, pool: TaskPool, groups: Groups, tracked: npt.NDArray[np.int64]) -> Replay:
    """Feed a new posterior with the run's settings what the run observed, step by step.

    Only selection is random, the update is not, so the beliefs are reproduced. Raises ValueError for settings that
    `bots.BOTS` refuses, and for runs that are too large.
    """
    told = list(groups.observations())
    steps = len({step for step, *_ in told})
    if len(pool) * steps > LARGEST:
        raise ValueError(f"{len(pool):,} tasks x {steps:,} steps are too many to recompute")
    settings = SelectionConfig.model_validate(run.config.get("selection", {}))
    samples = int(run.config.get("rollout", {}).get("samples", 16))
    bots = BOTS(pool, **settings.settings(samples, run.seed))
    records: list[dict[str, object]] = [{"step": 0, **pool_bins(bots.alpha, bots.beta)}]
    every = max(1, round(len(told) / TRACKED_POINTS))
    at = [0]
    predicted: list[Floats] = []
    means: list[Floats] = []
    deviations: list[Floats] = []
    _track(bots, tracked, means, deviations)
    for number, (step, wave, rows, rewards) in enumerate(told, 1):
        bots.mark_selected(groups.selected[wave], wave)
        before, last = bots.predict_mean(rows), bots.last_observed(rows)
        rates = np.array([reward.mean() for reward in rewards])
        predicted.append(before)
        bots.observe(rows, rewards, step=wave)
        record: dict[str, object] = {
            "step": step,
            **batch_bins(before, rates),
            **age_bins(last, wave, before, rates),
        }
        if number % every == 0 or number == len(told):
            record |= pool_bins(bots.alpha, bots.beta)
            at.append(step)
            _track(bots, tracked, means, deviations)
        records.append(record)
    return Replay(
        records=records,
        predicted=np.concatenate(predicted),
        observed=groups.rate,
        rollouts=np.array([len(reward) for reward in groups.rewards]),
        at=at,
        mean=np.array(means).T,
        deviation=np.array(deviations).T,
        alpha=bots.alpha.copy(),
        beta=bots.beta.copy(),
    )


def _track(bots: BOTS, rows: npt.NDArray[np.int64], means: list[Floats], deviations: list[Floats]) -> None:
    mass = bots.alpha[rows] + bots.beta[rows]
    mean = bots.alpha[rows] / mass
    means.append(mean)
    deviations.append(np.sqrt(mean * (1 - mean) / (mass + 1)))
