"""Callers that wait for background work learn that it ended, failed or was abandoned."""

import asyncio

import pytest

from actors.chores import Chores


async def ends():
    await asyncio.sleep(0)


async def fails():
    raise ValueError("broken")


async def lasts():
    await asyncio.Event().wait()


def test_the_end_of_a_chore_is_news():
    async def story():
        chores = Chores()
        chores.begin(ends())
        assert chores.running("ends", "lasts")
        await asyncio.wait_for(chores.news(), 5)
        assert not chores.running("ends")

    asyncio.run(story())


def test_a_failure_reaches_who_waits_and_who_looks_until_it_is_forgiven():
    async def story():
        chores = Chores()
        chores.begin(fails())
        with pytest.raises(ValueError, match="broken"):
            await asyncio.wait_for(chores.news(), 5)
        chores.fail(KeyError("later"))
        with pytest.raises(ValueError, match="broken"):
            chores.raise_failure()
        with pytest.raises(ValueError, match="broken"):
            await asyncio.wait_for(chores.news(), 5)
        chores.forgive()
        chores.raise_failure()

    asyncio.run(story())


def test_what_is_abandoned_is_cancelled_and_who_waited_for_it_is_told():
    async def story():
        chores = Chores()
        task = chores.begin(lasts())
        waiting = asyncio.create_task(chores.news())
        await asyncio.sleep(0)
        chores.abandon("the run has ended")
        with pytest.raises(RuntimeError, match="the run has ended"):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(asyncio.CancelledError):
            await task
        chores.raise_failure()

    asyncio.run(story())
