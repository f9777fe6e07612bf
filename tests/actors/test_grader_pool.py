"""The grader pool with graders that never start, that start only once, and that start late."""

import asyncio
import os
import time

import pytest
import ray

from actors import grader_pool
from actors.grader import Grader
from actors.grader_pool import GraderPool, NoGraderError
from bots.config.train import GradingConfig
from bots.graders.waiting import Result

ITEM = ("exact", "", "1", "1")


class Heard:
    """What a pool reported to its owner."""

    def __init__(self):
        self.lost, self.failure = [], asyncio.Event()
        self.pool = GraderPool(GradingConfig(), lambda *what: self.lost.append(what), self.fail)

    def fail(self, error):
        self.error = error
        self.failure.set()


def unmakeable():
    return Grader.options(num_cpus=0).remote(1, graders=["magic"])


def test_where_no_grader_can_be_made_the_reason_is_told_before_anything_is_graded(cluster):
    async def story():
        heard = Heard()
        heard.pool.add([("grader-0", unmakeable()), ("grader-1", unmakeable())])
        heard.pool.tell_if_none()
        assert not heard.failure.is_set()
        said = r"all 2 graders are gone for good; grader-\d: .*unknown grader 'magic'"
        for _ in range(2):
            await asyncio.wait_for(heard.failure.wait(), 60)
            with pytest.raises(NoGraderError, match=said):
                raise heard.error
            heard.failure.clear()
            heard.pool.tell_if_none()
        assert [jobs for _, _, jobs in heard.lost] == [0, 0]

    asyncio.run(story())


def test_the_others_go_on_without_a_grader_that_cannot_be_made(cluster):
    async def story():
        heard = Heard()
        heard.pool.add([("grader-0", unmakeable()), ("grader-1", Grader.options(num_cpus=0).remote(1))])
        results = await asyncio.wait_for(asyncio.gather(*(heard.pool.grade([ITEM]) for _ in range(8))), 60)
        assert [result.reward for (result,) in results] == [1.0] * 8
        while not heard.lost:
            await asyncio.sleep(0.1)
        ((name, reason, jobs),) = heard.lost
        assert (name, jobs) == ("grader-0", 0)
        assert reason.startswith("gone for good: bots.graders.registry.UnknownGraderError: unknown grader")
        assert not heard.failure.is_set()

    asyncio.run(story())


@ray.remote(num_cpus=0, max_restarts=-1)
class Once:
    """A grader that starts once; after that its node lacks what it needs. `dies`: in C code, without a message."""

    def __init__(self, mark, dies=False):
        if mark.exists():
            if dies:
                os._exit(1)
            raise RuntimeError("no sandbox here:\n  bwrap is not installed")
        mark.touch()

    def ready(self):
        return True

    def grade(self, items):
        os._exit(1)


def test_a_grader_that_cannot_come_back_is_gone_and_what_waits_is_told(cluster, tmp_path):
    async def story():
        heard = Heard()
        heard.pool.add([("grader-0", Once.remote(tmp_path / "mark"))])
        grading = asyncio.create_task(heard.pool.grade([ITEM]))
        await asyncio.wait_for(heard.failure.wait(), 60)
        assert str(heard.error) == (
            "the only grader is gone for good; grader-0: RuntimeError: no sandbox here:\n  bwrap is not installed"
        )
        assert not grading.done()
        grading.cancel()

    asyncio.run(story())


def test_a_grader_that_only_dies_is_given_up_after_a_while(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(grader_pool, "_START_SECONDS", 4.0)

    async def story():
        heard = Heard()
        heard.pool.add([("grader-0", Once.remote(tmp_path / "mark", dies=True))])
        grading = asyncio.create_task(heard.pool.grade([ITEM]))
        await asyncio.wait_for(heard.failure.wait(), 60)
        assert "grader-0: it died again and again for 4 s; last: " in str(heard.error)
        grading.cancel()

    asyncio.run(story())


@ray.remote(num_cpus=0)
class Late:
    def __init__(self):
        time.sleep(3)

    def ready(self):
        return True

    def grade(self, items):
        return [Result(1.0, "", 0.0) for _ in items]


def test_a_grader_that_takes_its_time_is_waited_for(cluster, monkeypatch):
    monkeypatch.setattr(grader_pool, "_START_SECONDS", 0.5)

    async def story():
        heard = Heard()
        heard.pool.add([("grader-0", Late.remote())])
        (result,) = await asyncio.wait_for(heard.pool.grade([ITEM]), 60)
        assert result.reward == 1.0
        assert not heard.lost

    asyncio.run(story())
