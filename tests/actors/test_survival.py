"""Engines, graders and the posterior are killed at random, again and again: the ledger always balances."""

import json
import os
import signal
import time

import numpy as np
import pytest
import ray

from actors.fatal import FatalError
from actors.grader import Grader
from actors.grader_pool import NoGraderError
from actors.pooled_engine import PooledEngine, patience
from benchmarks.fake_engine import FakeEngine
from bots.config.train import RolloutConfig
from bots.graders.waiting import Result
from bots.rollouts.ledger import audit
from tests.actors.fakes import SAMPLES, STALENESS, TASKS, Crew

KILLS = 50


@pytest.fixture
def crew(cluster, tmp_path):
    """A real coordinator with a real posterior, broker, journal and graders; only the engines are fakes."""
    made = Crew(tmp_path, [Grader.options(num_cpus=0).remote(1, graders=["exact"]) for _ in range(2)])
    yield made
    made.dismiss()


def test_what_dies_after_the_end_of_the_run_is_not_recorded_as_lost(crew, tmp_path):
    """At the end the driver kills the actors, and the coordinator's process may live on for a while after that."""

    def lost():
        events = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
        return [event["actor"] for event in events if event["event"] == "lost"]

    first, *others = crew.engines
    crew.first_step()
    ray.kill(first)
    until = time.monotonic() + 60.0
    while not lost() and time.monotonic() < until:
        time.sleep(0.05)
    ray.get(crew.coordinator.end.remote())
    for actor in [*others, *crew.graders]:
        ray.kill(actor)
    time.sleep(1.0)
    assert lost() == ["rollout-0"]


@pytest.mark.slow
def test_fifty_kills_at_random_points_lose_nothing_and_count_nothing_twice(crew, tmp_path):
    rng = np.random.default_rng(11)
    crew.restore()
    crew.publish(0)
    kills, step, killed, staleness = 0, 0, set(), []
    next_kill = time.monotonic() + 1.0
    batch = None
    while kills < KILLS or batch is not None:
        if batch is None:
            batch = crew.coordinator.next_batch.remote(step + 1)
        done, _ = ray.wait([batch], timeout=max(0.0, next_kill - time.monotonic()))
        if done:
            groups, figures, _ = ray.get(batch)
            batch, step = None, step + 1
            assert 0 < len(groups) <= TASKS
            assert figures["staleness"] <= STALENESS
            staleness.append(figures["staleness"])
            crew.publish(step)
        elif kills < KILLS and (pids := crew.pids()):
            name = rng.choice(sorted(pids))
            os.kill(pids[name], signal.SIGKILL)
            killed.add(name)
            kills += 1
            next_kill = time.monotonic() + rng.exponential(0.3)
        assert step < 5000
    _, _, state = ray.get(crew.coordinator.checkpoint.remote())

    found = audit(tmp_path / "ledger.jsonl")
    waves = step + STALENESS + 1
    assert found.selected == TASKS * waves
    assert sorted(set(found.trained.values())) == list(range(1, step + 1))
    assert all(reason for reason in found.dropped.values())
    assert len(found.trained) > 0.9 * TASKS * step
    assert found.under_way == {tuple(key) for key in state["under_way"]} - found.dropped.keys()
    assert len(killed) == 7, "every kind was hit"
    assert found.losses >= 10
    # Each trained task was observed once: the beliefs have as many observations as the ledger has trained groups.
    observations = ray.get(crew.posterior.table.remote())["observations"].to_numpy()
    trained = np.bincount([row for _, row in found.trained], minlength=500)
    assert np.array_equal(observations, trained)


def steps(crew, first, last):
    """Run these steps like the learner; returns the staleness of each."""
    found = []
    for step in range(first, last + 1):
        groups, figures, _ = ray.get(crew.coordinator.next_batch.remote(step), timeout=60)
        assert len(groups) == TASKS
        found.append(figures["staleness"])
        crew.publish(step)
    return found


@pytest.mark.parametrize("coordinator_dies", [False, True])
def test_going_back_to_a_checkpoint_loses_and_repeats_nothing(crew, tmp_path, coordinator_dies):
    crew.restore()
    crew.publish(0)
    steps(crew, 1, 5)
    checkpoint = ray.get(crew.coordinator.checkpoint.remote())
    assert checkpoint[2]["step"] == 5
    assert len(checkpoint[2]["under_way"]) == TASKS * (STALENESS + 1)
    beliefs = ray.get(crew.posterior.table.remote())
    steps(crew, 6, 8)
    pending = crew.coordinator.next_batch.remote(9)
    if coordinator_dies:
        os.kill(ray.get(crew.coordinator.pid.remote()), signal.SIGKILL)
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(pending, timeout=60)
    crew.restore(checkpoint)
    restored = ray.get(crew.posterior.table.remote())
    for column in ("alpha", "beta", "observations"):
        assert restored[column].equals(beliefs[column])
    crew.publish(5)
    assert max(steps(crew, 6, 9)) <= STALENESS
    ray.get(crew.coordinator.checkpoint.remote())
    found = audit(tmp_path / "ledger.jsonl")
    assert found.rewinds == 2
    assert found.selected == TASKS * (9 + STALENESS + 1)
    assert len(found.trained) == TASKS * 9
    observations = ray.get(crew.posterior.table.remote())["observations"].to_numpy()
    assert np.array_equal(observations, np.bincount([row for _, row in found.trained], minlength=500))


def test_an_engine_that_hangs_is_found_out_and_comes_back(cluster, tmp_path):
    graders = [Grader.options(num_cpus=0).remote(1, graders=["exact"])]
    crew = Crew(tmp_path, graders, engines=2, timeout_s=3.0)
    crew.restore()
    crew.publish(0)
    steps(crew, 1, 2)
    os.kill(ray.get(crew.engines[0].pid.remote()), signal.SIGSTOP)
    step, figures = 2, {"engine_losses": 0, "engines": 2}
    deadline = time.monotonic() + 240  # a new process on a busy machine needs long
    while not (figures["engine_losses"] and figures["engines"] == 2):
        assert time.monotonic() < deadline, figures
        step += 1
        _, figures, _ = ray.get(crew.coordinator.next_batch.remote(step), timeout=60)
        crew.publish(step)
    found = audit(tmp_path / "ledger.jsonl")
    assert len(found.trained) == TASKS * step
    events = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    (lost,) = [event for event in events if event["event"] == "lost"]
    assert lost["actor"] == "rollout-0"
    assert "hangs" in lost["reason"]
    assert lost["tasks"], "it had some, which the other one answered"
    crew.dismiss()


@ray.remote(num_cpus=0, max_restarts=-1)
class Tardy(FakeEngine):
    """The second of two engines takes forever to start."""

    def __init__(self, name, law):
        super().__init__(name, law, start_seconds=600.0 if name == "rollout-1" else 0.0)


def test_an_engine_whose_start_takes_too_long_is_told_from_one_that_hangs(cluster, tmp_path):
    graders = [Grader.options(num_cpus=0).remote(1, graders=["exact"])]
    crew = Crew(tmp_path, graders, engines=2, engine=Tardy, timeout_s=3.0)
    crew.restore()
    crew.publish(0)
    for step in range(1, 1000):
        _, figures, _ = ray.get(crew.coordinator.next_batch.remote(step), timeout=60)
        crew.publish(step)
        if figures["engine_losses"]:
            break
    crew.dismiss()
    events = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    (event, *_) = [event for event in events if event["event"] == "lost"]
    assert event["actor"] == "rollout-1"
    assert "its start takes longer than rollout.timeout_s = 3 s" in event["reason"]


@ray.remote(num_cpus=0, max_restarts=-1)
class SlowToStart(FakeEngine):
    """The second of two engines takes five seconds to start."""

    def __init__(self, name, law):
        super().__init__(name, law, start_seconds=5.0 if name == "rollout-1" else 0.0)


def test_an_engine_may_take_longer_to_start_than_to_stand_still(cluster, tmp_path):
    graders = [Grader.options(num_cpus=0).remote(1, graders=["exact"])]
    crew = Crew(tmp_path, graders, engines=2, engine=SlowToStart, timeout_s=2.0, start_timeout_s=60.0)
    crew.restore()
    crew.publish(0)
    for step in range(1, 1000):
        _, figures, _ = ray.get(crew.coordinator.next_batch.remote(step), timeout=60)
        crew.publish(step)
        if figures["engines"] == 2:
            break
    crew.dismiss()
    assert figures["engine_losses"] == 0


def test_without_any_engine_the_run_ends_and_says_why(cluster, tmp_path):
    crew = Crew(tmp_path, [Fragile.remote()], engines=1, timeout_s=3.0)
    crew.restore()
    crew.publish(0)
    ray.kill(crew.engines[0])
    with pytest.raises(RuntimeError, match=r"no rollout engine for rollout.timeout_s = 3 s.*rollout-0"):
        ray.get(crew.coordinator.next_batch.remote(1), timeout=60)
    # A learner group that Ray Train restarts gets the same error.
    with pytest.raises(RuntimeError, match=r"no rollout engine for rollout.timeout_s = 3 s.*rollout-0"):
        crew.first_step()
    crew.dismiss()


def test_without_any_grader_the_run_ends_with_what_their_constructors_said(cluster, tmp_path):
    crew = Crew(tmp_path, [Grader.options(num_cpus=0).remote(1, graders=["magic"])], engines=1)
    said = r"the only grader is gone for good; grader-0: .*unknown grader 'magic'"
    with pytest.raises(FatalError, match=said):
        crew.first_step()
    # A learner group that Ray Train restarts gets the same error.
    with pytest.raises(FatalError, match=said):
        crew.first_step()
    with pytest.raises(NoGraderError, match=said):
        raise ray.get(crew.coordinator.fatal.remote())
    crew.dismiss()


@ray.remote(num_cpus=0, max_restarts=-1)
class Fragile:
    """A grader whose process dies at any group without a right completion, as faulty native code may."""

    def ready(self):
        return True

    def grade(self, items):
        rewards = [float(completion == answer) for _, _, answer, completion in items]
        if any(sum(rewards[i : i + SAMPLES]) == 0 for i in range(0, len(rewards), SAMPLES)):
            os._exit(1)
        return [Result(reward, "", 0.0) for reward in rewards]


def test_a_task_over_which_graders_die_is_dropped_with_the_reason_and_the_others_are_not(cluster, tmp_path):
    crew = Crew(tmp_path, [Fragile.remote()], engines=1, staleness=0)
    crew.restore()
    crew.publish(0)
    groups, figures, _ = ray.get(crew.coordinator.next_batch.remote(1), timeout=120)
    found = audit(tmp_path / "ledger.jsonl")
    assert figures["dropped_groups"] == len(found.dropped) == TASKS - len(groups)
    assert 0 < len(found.dropped) < TASKS
    assert all("3 graders were lost over it; grader-0" in reason for reason in found.dropped.values())
    assert all(group.rewards.sum() > 0 for group in groups)
    crew.dismiss()


@ray.remote(num_cpus=0, max_restarts=-1)
class Sluggish(FakeEngine):
    """Takes longer to start than the initial limit, as on a busy machine."""

    def __init__(self, name, law):
        super().__init__(name, law, start_seconds=9.0)


def test_an_engine_that_only_needs_longer_gets_to_work(cluster, tmp_path):
    graders = [Grader.options(num_cpus=0).remote(1, graders=["exact"])]
    crew = Crew(tmp_path, graders, engines=1, engine=Sluggish, timeout_s=60.0, start_timeout_s=6.0)
    crew.restore()
    crew.publish(0)
    ray.get(crew.coordinator.next_batch.remote(1), timeout=240)
    crew.dismiss()
    events = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    lost = [event["reason"] for event in events if event["event"] == "lost"]
    # On a busy machine, its process takes seconds before these nine seconds begin.
    assert lost
    for times, reason in enumerate(lost, start=1):
        assert f"it may take {6 * 2**times} s next time" in reason


def test_the_run_waits_for_as_long_as_the_start_limits_of_an_engine_that_needs_longer():
    def wait(timeout_s, start_timeout_s, **record):
        settings = RolloutConfig(timeout_s=timeout_s, start_timeout_s=start_timeout_s)
        engines = [PooledEngine("rollout-0", None, 0, **record), PooledEngine("rollout-1", None, 1)]
        return patience(settings, engines)

    assert wait(6.0, None) == 6.0
    assert wait(6.0, 60.0) == 60.0
    # A process (6 s), and its start (60 s).
    assert wait(6.0, 60.0, starting=True) == 6 + 60
    # Two starts failed and the third may take four times as long, each in a new process.
    assert wait(6.0, 60.0, slow_starts=2) == 3 * 6 + (60 + 120 + 240)
    assert wait(60.0, 6.0, slow_starts=1) == 2 * 60 + (6 + 12)
