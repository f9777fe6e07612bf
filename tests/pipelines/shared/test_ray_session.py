"""Which Ray a job uses."""

import subprocess
import sys

import pytest

from pipelines.shared import ray_session
from tests.heads import started_head

pytestmark = pytest.mark.ray


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


IN_A_SESSION = """
import os
import ray
from ray.util.state import get_actor
from ray.util.state.exception import RayStateApiException
from pipelines.shared.ray_session import ray_session

@ray.remote(num_cpus=0)
class One:
    def known(self):
        \"""What Ray Train asks of its controller, to give back the learners' places where it is not known.\"""
        try:
            found = get_actor(ray.get_runtime_context().get_actor_id(), timeout=5)
        except RayStateApiException as error:
            return f"no answer: {error}"
        return found.state if found else "not known"

before = os.environ.get("RAY_API_SERVER_ADDRESS")
with ray_session():
    print(ray.get(One.remote().known.remote()))
assert os.environ.get("RAY_API_SERVER_ADDRESS") == before, "the person's own setting is left as it was"
"""


def heard_in_a_session(env):
    done = subprocess.run([sys.executable, "-c", IN_A_SESSION], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
def test_a_ray_in_here_does_not_ask_another_whether_its_actors_live(named):
    """Otherwise Ray Train would end the learners of a living run that another user's Ray does not know."""
    with started_head() as head:
        kept = {k: v for k, v in head.env.items() if k != ray_session.API_SERVER}
        env = kept | ({ray_session.API_SERVER: head.dashboard} if named else {})
        assert heard_in_a_session(env).startswith("no answer")


@pytest.mark.slow
def test_on_a_cluster_it_is_asked_itself_whatever_else_runs_on_the_machine():
    """Otherwise Ray Train does not release what the learners of a killed job held."""
    with started_head(**{ray_session.API_SERVER: ""}) as head, started_head():
        kept = {k: v for k, v in head.env.items() if k != ray_session.API_SERVER}
        assert heard_in_a_session(kept | {ray_session.ADDRESS: head.gcs}) == "ALIVE\n"


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
