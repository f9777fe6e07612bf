"""A request that no engine can serve is dropped with the reason, and affects no other request."""

import asyncio
import os
import sys
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import ray
from ray.exceptions import RayActorError

from actors import engine_pool
from actors.engine_pool import MOST_LOSSES, EnginePool, Weights
from actors.evaluation import EvaluationError
from actors.fatal import FatalError
from actors.grader import Grader
from actors.rollout import RolloutActor
from benchmarks.fake_engine import FakeEngine, Law
from bots.config.train import RolloutConfig
from bots.rollouts.ledger import audit
from bots.rollouts.request import RefusedError, Request, Sampling
from tests.actors.fakes import TASKS, Crew

LAW = Law(tokens_per_second=2000.0)
POISON = 5


def request(row, temperature=1.0):
    return Request(("train", 1, row), np.array([row], np.int32), Sampling(4, 200, temperature), row)


class Greedy:
    """Stands in for `actors.engine.Engine` and refuses what vLLM refuses."""

    vocab_size = 8
    tokens = running = recomputed = 0

    def __init__(self, model, config, seed):
        self.abort()

    def abort(self):
        self.open = {}
        self.unbegun = self.early_completions = 0

    @property
    def unfinished(self):
        return len(self.open)

    def submit(self, request):
        if request.prompt[0] == POISON:
            raise RuntimeError("CUDA error")
        if request.sampling.temperature == 0 and request.sampling.samples > 1:
            raise RefusedError("vLLM refused it: n must be 1 when using greedy sampling, got 4.")
        self.open[request.key] = []

    def step(self):
        done, self.open = self.open, {}
        return done


@pytest.fixture
def actor(monkeypatch):
    """The rollout actor in this process, with an engine that completes requests at once."""
    stub = SimpleNamespace(Engine=Greedy, prepare_process=lambda: None)
    monkeypatch.setitem(sys.modules, "actors.engine", stub)
    made = RolloutActor.__ray_metadata__.modified_class("rollout-0", "", RolloutConfig(), 0)
    made.begin("turn")
    return made


def test_what_vllm_refuses_does_not_end_the_engine(actor):
    actor.submit("turn", [request(1), request(2, temperature=0), request(3)])
    groups, refused = [], []
    while len(groups) + len(refused) < 3:
        told = actor.collect("turn", 5.0)
        groups += told.groups
        refused += told.refused
    assert [key for key, _ in groups] == [("train", 1, 1), ("train", 1, 3)]
    said = "vLLM refused it: n must be 1 when using greedy sampling, got 4."
    assert refused == [(("train", 1, 2), said)]
    assert told.unfinished == 0
    assert actor.collect("turn", 0.01).refused == [], "it is said once"


def test_an_engine_that_is_broken_does_not_refuse_whatever_there_is_to_do(actor):
    actor.submit("turn", [request(POISON)])
    with pytest.raises(RuntimeError, match=r"rollout-0 has failed: RuntimeError.'CUDA error'"):
        actor.collect("turn", 5.0)


class Mortal(FakeEngine):
    """Stands in for an actor in this process: a poisonous prompt kills it, and it restarts at once."""

    def __init__(self, name):
        super().__init__(name, LAW)
        self.dead = False

    def __getattribute__(self, name):
        method = object.__getattribute__(self, name)
        if name not in ("pid", "ready", "begin", "submit", "collect", "load"):
            return method

        async def call(*arguments):
            self.dead = self.dead and name != "pid"
            answer = await method(*arguments)
            if self.dead:
                raise RayActorError
            return answer

        return SimpleNamespace(remote=call)

    async def submit(self, turn, requests):
        self.dead |= any(request.prompt[0] == POISON for request in requests)
        await FakeEngine.submit(self, turn, requests)

    async def load(self, buckets, version):
        return self.name, "sum", 0.0


@pytest.mark.parametrize("engines", [1, 3])
def test_a_request_that_ends_engines_takes_no_other_with_it(monkeypatch, engines):
    monkeypatch.setattr(engine_pool, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(engine_pool, "_POLL_SECONDS", 0.2)
    losses, given_up, answered = Counter(), [], []

    def lost(name, reason, requests):
        losses.update(request.key[2] for request in requests)
        again = [replace(request, losses=request.losses + 1) for request in requests]
        given_up.extend(request.key[2] for request in again if request.losses == MOST_LOSSES)
        return [request for request in again if request.losses < MOST_LOSSES]

    async def story():
        pool = EnginePool(
            RolloutConfig(samples=4, max_num_seqs=32),
            lambda key, version: None,
            lambda key, rollouts: answered.append(key[2]),
            lambda key, reason: None,
            lost,
            lambda name, seconds: None,
            pytest.fail,
        )
        actors = [Mortal(f"rollout-{i}") for i in range(engines)]
        pool.add([(actor.name, actor) for actor in actors])
        pool.set_weights(Weights(0, [], "sum"))
        pool.submit(request(row) for row in range(24))
        async with asyncio.timeout(60):
            while len(answered) + len(given_up) < 24:
                await asyncio.sleep(0.02)
        assert (pool.waiting, pool.running) == (0, 0)

    asyncio.run(story())
    assert given_up == [POISON]
    assert sorted(answered) == [row for row in range(24) if row != POISON]
    assert losses.pop(POISON) == MOST_LOSSES
    # Neighbours are hit by its losses only until it is alone; with several engines they may move to another one first.
    together = engine_pool.LOSSES_TO_BE_ALONE
    assert max(losses.values()) == together if engines == 1 else max(losses.values()) <= together


@ray.remote(num_cpus=0, max_restarts=-1)
class Choosy(FakeEngine):
    """Refuses every fourth training task, and dies on the poisonous evaluation task."""

    def __init__(self, name, law):
        super().__init__(name, law)
        self.refused = []

    async def submit(self, turn, requests):
        if any(request.key[0] == "evaluate" and request.key[2] == POISON for request in requests):
            os._exit(1)
        refused = [r for r in requests if r.key[0] == "train" and r.key[2] % 4 == 0]
        self.refused += [(request.key, "vLLM refused it: too long") for request in refused]
        await super().submit(turn, [request for request in requests if request not in refused])

    async def collect(self, turn, seconds):
        told = await super().collect(turn, 0.1)
        refused, self.refused = self.refused, []
        return replace(told, refused=refused)


def crew_of(tmp_path, **settings):
    graders = [Grader.options(num_cpus=0).remote(1, graders=["exact"])]
    return Crew(tmp_path, graders, engine=Choosy, engines=2, staleness=0, **settings)


def test_a_refused_task_is_dropped_with_the_reason(cluster, tmp_path):
    crew = crew_of(tmp_path)
    groups, figures = crew.first_step()
    found = audit(tmp_path / "ledger.jsonl")
    assert 0 < figures["dropped_groups"] == TASKS - len(groups) < TASKS
    assert {row % 4 for _, row in found.dropped} == {0}
    assert set(found.dropped.values()) == {"vLLM refused it: too long"}
    assert found.losses == 0
    crew.dismiss()


def test_an_evaluation_that_ends_engines_fails_with_the_reason(cluster, tmp_path):
    crew = crew_of(tmp_path, evaluation_size=8)
    crew.restore()
    crew.publish(0)
    said = f"evaluation task t{POISON} gets no completions: {MOST_LOSSES} engines were lost while they had it"
    assert ray.get(crew.coordinator.fatal.remote()) is None
    with pytest.raises(FatalError, match=said):
        ray.get(crew.coordinator.evaluate.remote(0), timeout=120)
    with pytest.raises(EvaluationError, match=said):
        raise ray.get(crew.coordinator.fatal.remote())
    crew.dismiss()
