"""Waves: what the posterior selects, when generation may start, and what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from actors.posterior import merged_metrics
from bots.allocation import EVEN
from bots.config.selection import SelectionConfig
from bots.rollouts.ledger import Key, Ledger
from bots.rollouts.rollout import Group
from bots.support.arrays import Rows, as_batch


def wave_sizes(config: SelectionConfig) -> tuple[int, int]:
    """Tasks in a wave at its selection, and at most after the refills of dynamic sampling."""
    if config.dynamic is None:
        return config.tasks, config.tasks
    first = ceil(config.dynamic.oversample * config.tasks)
    return first, first * config.dynamic.rounds


class Waves:
    """Calls the posterior actor and enters the results in the ledger.

    posterior: its handle. pool_size: tasks in the training pool. seconds: time spent selecting the newest wave.
    """

    def __init__(self, config: SelectionConfig, ledger: Ledger, posterior: Any, pool_size: int) -> None:
        self._config, self._ledger, self._posterior = config, ledger, posterior
        self._tasks = min(wave_sizes(config)[0], pool_size)
        self.restart()

    def restart(self) -> None:
        """Continue from the ledger: tasks waiting there are already selected."""
        self.seconds = 0.0
        self._gated = self._ledger.at("waiting")

    async def select(self) -> None:
        """Select the next wave."""
        wave = self._ledger.wave + 1
        rows, self.seconds = await self._posterior.select.remote(wave, self._tasks, self._ledger.rows)
        self._ledger.select(wave, rows, await self._allocated(wave))
        self._gated += [(wave, int(row)) for row in rows]

    async def refill(self, tasks: int, used: Sequence[int], number: int) -> None:
        """Add tasks to the newest wave. used: rows that must not be selected. number: index of the wave's refill."""
        wave = self._ledger.wave
        rows, seconds = await self._posterior.select.remote(wave, tasks, used, number)
        self.seconds += seconds
        self._ledger.refill(rows, await self._allocated(wave, number))
        self._gated += [(wave, int(row)) for row in rows]

    def begin(self, version: int) -> list[Key]:
        """Selected tasks that may start now that the engines get this policy version; each is returned once."""
        able = [key for key in self._gated if self._ledger.may_begin(key, version)]
        self._gated = self._gated[len(able) :]
        return able

    async def observe(self, groups: Sequence[Group]) -> dict[str, Any]:
        """Send a batch's rewards to the posterior, wave by wave; returns the posterior's metrics."""
        metrics: dict[str, Any] = {}
        for wave in sorted({group.wave for group in groups}):
            of_wave = [group for group in groups if group.wave == wave]
            rows = np.array([group.row for group in of_wave], np.int64)
            rewards = as_batch([group.rewards for group in of_wave])
            metrics = merged_metrics(metrics, await self._posterior.observe.remote(wave, rows, rewards))
        return metrics

    async def _allocated(self, wave: int, refill: int = 0) -> Rows | None:
        """Completions for each task just selected; None: n for all."""
        if self._config.allocation == EVEN:
            return None
        counts: Rows = await self._posterior.rollouts.remote(wave, refill)
        return counts
