"""A step's batch with dynamic sampling: refills, what cannot be graded, and going back to a checkpoint."""

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

BACK = "the run went back to a checkpoint"


class Posterior:
    """Selects rows in turn; a refill waits until it is told to go on. then: called when it has just ended."""

    def __init__(self):
        self.go_on, self.asked, self.then = asyncio.Event(), asyncio.Event(), lambda: None
        self.select = SimpleNamespace(remote=self._select)

    async def _select(self, wave, tasks, exclude, refill=0):
        if refill:
            self.asked.set()
            await self.go_on.wait()
            asyncio.get_running_loop().call_soon(self.then)
        return np.arange(len(exclude), len(exclude) + tasks), 0.0


class Run:
    """A coordinator's part in it, with engines and graders that are done at once.

    rewards: of a row's two completions; None if they cannot be graded.
    """

    def __init__(self, rewards, tasks=2, pool=100, **dynamic):
        config = SelectionConfig(tasks=tasks, dynamic=DynamicConfig(**dynamic))
        self.ledger, self.chores, self.groups = Ledger(wave_sizes(config)[1], 0), Chores(), {}
        self.posterior, self.rewards = Posterior(), rewards
        self.waves = Waves(config, self.ledger, self.posterior, pool)
        self.batches = Batches(config, self.ledger, self.waves, self.chores, self.groups, pool, self.generate)

    def generate(self):
        for key in self.waves.begin(0):
            self.ledger.generate(key, 0)
            self.ledger.generated(key, 0)
            if (rewards := self.rewards(key[1])) is None:
                self.ledger.drop(key, "ungradable")
            else:
                self.ledger.graded(key)
                self.groups[key] = Group(key[1], np.zeros(1, np.int32), [], np.array(rewards), wave=key[0])

    async def next(self):
        await self.waves.select()
        self.generate()
        self.posterior.go_on.set()
        return await asyncio.wait_for(self.batches.next({}), 10)


@pytest.mark.parametrize("refill", ["rounds", "each"])
@pytest.mark.parametrize("late", [False, True])
def test_a_refill_is_forgotten_when_the_run_goes_back_to_a_checkpoint(refill, late):
    asyncio.run(goes_back(refill, late))


async def goes_back(refill, late):
    run = Run(lambda row: [1.0, 1.0], refill=refill, oversample=1)
    await run.waves.select()
    run.generate()
    waiting = asyncio.ensure_future(run.batches.next({}))
    await run.posterior.asked.wait()

    def go_back():
        assert (len(run.ledger.rows) > 2) == late
        run.chores.abandon(BACK)
        run.ledger.restore({"step": 0, "wave": 1, "under_way": [(1, 0), (1, 1)]})

    if late:  # between the end of the refill and the turn of who waits for it
        run.posterior.then = go_back
    else:
        go_back()
    run.posterior.go_on.set()
    with pytest.raises(RuntimeError, match=BACK):
        await asyncio.wait_for(waiting, 10)
    assert run.ledger.rows == [0, 1]


def test_a_request_of_which_nothing_can_be_graded_is_a_round_like_others():
    ungradable = {0, 1, 2}  # the first request, and one of the second
    run = Run(lambda row: None if row in ungradable else [0.0, 1.0], refill="rounds", oversample=1, rounds=3)
    trained, due = asyncio.run(run.next())
    assert [row for _, row in trained] == [row for _, row in due] == [3, 4]
    nothing = Run(lambda row: None, refill="rounds", oversample=1, rounds=3)
    assert asyncio.run(nothing.next()) == ([], [])
    assert len(nothing.ledger.dropped) == 6, "three requests of two tasks"


@pytest.mark.parametrize("refill", ["rounds", "each"])
def test_where_no_group_is_to_be_kept_the_batch_is_no_larger_than_without_the_filter(refill):
    run = Run(lambda row: [0.4, 0.6], tasks=3, refill=refill, oversample=1, least_deviation=0.3)
    trained, due = asyncio.run(run.next())
    assert [row for _, row in trained] == [0, 1, 2]
    assert len(due) == 12
