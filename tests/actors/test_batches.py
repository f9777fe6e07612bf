"""Refills of a batch whose run goes back to a checkpoint in the meantime."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from actors.batches import Batches
from actors.chores import Chores
from actors.waves import Waves, wave_sizes
from bots.config.selection import DynamicConfig, SelectionConfig
from bots.rollouts.ledger import Ledger
from bots.rollouts.rollout import Group


class SlowPosterior:
    """Selects rows in turn; a refill waits until it is told to go on."""

    def __init__(self):
        self.go_on, self.asked = asyncio.Event(), asyncio.Event()
        self.select = SimpleNamespace(remote=self._select)

    async def _select(self, wave, tasks, exclude, refill=0):
        if refill:
            self.asked.set()
            await self.go_on.wait()
        return np.arange(len(exclude), len(exclude) + tasks), 0.0


@pytest.mark.parametrize("refill", ["rounds", "each"])
def test_a_refill_is_forgotten_when_the_run_goes_back_to_a_checkpoint(refill):
    asyncio.run(goes_back(refill))


async def goes_back(refill):
    config = SelectionConfig(tasks=2, dynamic=DynamicConfig(refill=refill, oversample=1))
    ledger, chores, groups, posterior = Ledger(wave_sizes(config)[1], 0), Chores(), {}, SlowPosterior()
    waves = Waves(config, ledger, posterior, 100)
    batches = Batches(config, ledger, waves, chores, groups, 100, lambda: None)
    await waves.select()
    for key in waves.begin(0):
        ledger.generate(key, 0)
        ledger.generated(key, 0)
        ledger.graded(key)
        groups[key] = Group(key[1], np.zeros(1, np.int32), [], np.ones(2), wave=key[0])
    waiting = asyncio.ensure_future(batches.next({}))
    await posterior.asked.wait()
    chores.abandon("the run went back to a checkpoint")
    ledger.restore({"step": 0, "wave": 1, "under_way": [(1, 0), (1, 1)]})
    posterior.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 10)
    assert ledger.rows == [0, 1]
