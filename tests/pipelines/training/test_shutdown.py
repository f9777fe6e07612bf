"""The end of a run whose actors are gone: it is still recorded, and the run's own error is the one shown."""

import json
import logging
from types import SimpleNamespace

import pytest
import ray
from rich.console import Console

from pipelines import train
from pipelines.training import shutdown
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


@pytest.fixture
def handles(cluster):
    """Actor handles of a run; the journal takes long to close, and all actors are alive."""
    actors = {name: Actor.remote() for name in ("coordinator", "posterior", "broker", "journal", "engine")}
    ray.get([actor.pid.remote() for actor in actors.values()])
    engine = ("rollout-0", actors.pop("engine"))
    yield SimpleNamespace(
        **actors, partners=SimpleNamespace(engines=[engine], graders=[]), more_engines=[], engine=engine[1]
    )
    for actor in (*actors.values(), engine[1]):
        ray.kill(actor)


def ended(actor):
    try:
        ray.get(actor.pid.remote(), timeout=30)
    except ray.exceptions.RayActorError:
        return True
    return False


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
