"""Which Ray a job uses. tests/cluster has real ones side by side."""

import os
import shutil
import subprocess
import time

import pytest

from pipelines.shared import ray_session


@pytest.mark.parametrize("address", [None, "192.0.2.1:6379"])
def test_a_cluster_is_joined_where_it_is_named_only(address, monkeypatch):
    """Not one that `ray start` has left on this machine, which would also hide the driver's environment."""
    asked = {}
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray_session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_session.ray, "init", lambda **options: asked.update(options))
    monkeypatch.setattr(ray_session.ray, "shutdown", lambda: None)
    with ray_session.ray_session():
        pass
    assert asked.get("address") == (None if address else "local")
    assert ("include_dashboard" in asked) == (address is None)
    assert ("runtime_env" in asked) == (address is not None)


def test_a_start_that_ray_gives_up_on_a_busy_machine_is_tried_again(monkeypatch):
    left, timeout = [], "The current node timed out during startup. This could happen because"

    def init(**options):
        left.append(subprocess.Popen(["sleep", "600"]))
        if len(left) < 3:
            raise Exception(timeout)

    monkeypatch.setattr(ray_session.ray, "init", init)
    monkeypatch.setattr(ray_session.ray, "shutdown", lambda: None)
    ray_session._init(attempts=4, address="local")
    assert [process.wait(0.5) for process in left[:2]] == [-9, -9], "what a failed start left is ended"
    assert left[2].poll() is None
    left.clear()
    with pytest.raises(ray_session.RayStartError, match="it may be too busy"):
        ray_session._init(attempts=2)
    for process in left:
        process.kill()


def test_a_node_that_registers_late_is_waited_for(monkeypatch):
    """Ray itself gives up after 30 s, which on a busy machine no number of attempts mends."""
    asked = []

    def get_node(address, node):
        asked.append(node)
        if len(asked) < 4:
            raise RuntimeError("No node with id")
        return {"node": node}

    monkeypatch.setattr(ray_session.services, "get_node", get_node)
    with ray_session._patience(20.0):
        assert ray_session.services.get_node("address", "n") == {"node": "n"}
    assert ray_session.services.get_node is get_node
    asked.clear()
    with ray_session._patience(0.15), pytest.raises(RuntimeError):
        ray_session.services.get_node("address", "n")


def test_a_node_whose_process_has_ended_is_started_again_at_once(monkeypatch, tmp_path):
    raylet = shutil.copy(shutil.which("sleep"), tmp_path / "raylet")
    started = []

    def get_node(address, node):
        if len(started) < 2:
            raise RuntimeError("No node with id")

    def init(**options):
        # The first one ends itself, as a raylet does whose agents are late.
        started.append(subprocess.Popen([raylet, "600" if started else "0.3"]))
        assert ray_session.START_LIMITS.items() <= os.environ.items()
        ray_session.services.get_node("address", "n")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_session.services, "get_node", get_node)
    monkeypatch.setattr(ray_session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_session.ray, "init", init)
    monkeypatch.setattr(ray_session.ray, "shutdown", lambda: None)
    begun = time.monotonic()
    with ray_session.ray_session(models=False):
        assert len(started) == 2
    assert time.monotonic() - begun < ray_session.START_SECONDS / 6
    started[1].kill()
