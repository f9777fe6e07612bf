"""The end of a run whose actors are gone: it is still recorded, and the run's own error is the one shown."""

import json
import logging
import time
from types import SimpleNamespace

import pytest
import ray
from rich.console import Console

from pipelines import train
from pipelines.training import actors, shutdown
from pipelines.training.shutdown import shut_down


@ray.remote(num_cpus=0)
class Actor:
    def close(self, seconds=0):
        import time

        time.sleep(60)

    def table(self):
        raise ValueError("no beliefs")

    def pid(self):
        return 1

    def end(self):
        self.has_ended = True

    def ended(self):
        return getattr(self, "has_ended", False)


@pytest.fixture
def handles(cluster):
    """Actor handles of a run; the journal takes long to close, and all actors are alive."""
    named = {name: Actor.remote() for name in ("coordinator", "posterior", "broker", "journal", "engine")}
    ray.get([actor.pid.remote() for actor in named.values()])
    engine = ("rollout-0", named.pop("engine"))
    yield SimpleNamespace(
        **named, partners=SimpleNamespace(engines=[engine], graders=[]), more_engines=[], engine=engine[1]
    )
    for actor in (*named.values(), engine[1]):
        ray.kill(actor)


def answers(actor):
    try:
        return ray.get(actor.pid.remote(), timeout=30) == 1
    except ray.exceptions.RayActorError:
        return False


def ended(actor, seconds=30):
    """Whether it ends within this time: `ray.kill` does not wait for it."""
    until = time.monotonic() + seconds
    while answers(actor):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_what_fails_at_the_end_is_said_and_the_rest_is_done(handles, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(shutdown, "JOURNAL_SECONDS", 0.5)
    ray.kill(handles.posterior)
    with caplog.at_level(logging.WARNING):
        summary = shut_down(handles, tmp_path, 0.0, "failed")
    assert summary["status"] == "failed"
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert "missing from TensorBoard and the trackers; metrics.jsonl has them (GetTimeoutError" in caplog.text
    assert "the final beliefs are not written" in caplog.text
    assert ended(handles.coordinator)
    assert ended(handles.engine)


def test_the_coordinator_has_ended_its_work_before_any_actor_is_killed(handles, monkeypatch):
    ended_first = []
    monkeypatch.setattr(
        actors.ray, "kill", lambda _: ended_first.append(ray.get(handles.coordinator.ended.remote()))
    )
    actors.kill_actors(handles)
    assert ended_first == [True] * 5


def test_a_coordinator_that_does_not_answer_is_killed_with_the_others(handles, monkeypatch, caplog):
    monkeypatch.setattr(actors, "_END_SECONDS", 0.5)
    handles.coordinator.close.remote()  # one call at a time: it is busy
    actors.kill_actors(handles)
    assert "the coordinator does not answer at the end, and is killed (GetTimeoutError)" in caplog.text
    assert ended(handles.coordinator)
    assert ended(handles.engine)


def test_the_error_of_a_run_is_not_hidden_by_how_it_ends(handles, tmp_path, monkeypatch):
    monkeypatch.setattr(shutdown, "JOURNAL_SECONDS", 0.5)

    def fail(*_):
        raise RuntimeError("the engines are gone")

    monkeypatch.setattr(train, "start_actors", lambda *_: handles)
    monkeypatch.setattr(train, "_fit", fail)
    with pytest.raises(RuntimeError, match="the engines are gone"):
        train._run(None, tmp_path, Console(quiet=True), None)
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "failed"
    (tmp_path / "summary.json").unlink()
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(RuntimeError, match="the engines are gone"):
        train._run(None, tmp_path, Console(quiet=True), None)
    assert ended(handles.coordinator)
