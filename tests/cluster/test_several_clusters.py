"""Two clusters on one machine: a job asks the right one, and does not wait for one that nothing can enlarge."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.shared import ray_session
from tests.heads import started_head
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture(scope="module")
def heads():
    """One for each version of Ray's autoscaler. Their own processes do not name a dashboard to the jobs they start."""
    with (
        started_head(RAY_enable_autoscaler_v2="0", **{ray_session.API_SERVER: ""}) as one,
        started_head(RAY_enable_autoscaler_v2="1", **{ray_session.API_SERVER: ""}) as other,
    ):
        yield one, other


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


@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
def test_a_ray_in_here_does_not_ask_another_whether_its_actors_live(heads, named):
    """Otherwise Ray Train would end the learners of a living run that another user's Ray does not know."""
    head = heads[0]
    kept = {k: v for k, v in head.env.items() if k != ray_session.API_SERVER}
    env = kept | ({ray_session.API_SERVER: head.dashboard} if named else {})
    assert heard_in_a_session(env).startswith("no answer")


def test_on_a_cluster_it_is_asked_itself_whatever_else_runs_on_the_machine(heads):
    """Otherwise Ray Train does not release what the learners of a killed job held."""
    head = heads[0]
    kept = {k: v for k, v in head.env.items() if k != ray_session.API_SERVER}
    assert heard_in_a_session(kept | {ray_session.ADDRESS: head.gcs}) == "ALIVE\n"


ASKING = """
import time
import ray
from pipelines.shared.resources import Demand, ResourceError, wait_for_resources

ray.init()
started = time.monotonic()
try:
    wait_for_resources([Demand("learner rank", 2, 1, 0, "learner.ranks", {"learner": 1.0})], 600)
except ResourceError as error:
    print(time.monotonic() - started < 60, error)
"""


@pytest.mark.parametrize("version", [0, 1])
def test_a_plain_cluster_is_told_at_once_that_nothing_will_come(heads, version):
    head = heads[version]
    env = head.env | {"RAY_ADDRESS": head.gcs}
    done = subprocess.run([sys.executable, "-c", ASKING], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The autoscaler's own lines come first.
    said = done.stdout.splitlines()[-1]
    assert said.startswith("True the run asks for 2 learner")
    assert "waiting would be in vain" in said


JOINED_BY_HAND = """
import ray
from pipelines.shared.resources import Demand, wait_for_resources

ray.init()
print("asks", flush=True)
wait_for_resources([Demand("learner rank", 2, 1, 0, "learner.ranks", {"learner": 1.0})], 600, by_hand=True)
print("starts with", ray.cluster_resources()["learner"])
"""


def test_a_node_that_is_added_by_hand_ends_the_wait(heads):
    """The last of this file: the node stays."""
    head = heads[0]
    asking = subprocess.Popen(
        [sys.executable, "-c", JOINED_BY_HAND],
        env=head.env | {"RAY_ADDRESS": head.gcs},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "asks" in asking.stdout.readline()
    node = subprocess.Popen(
        [
            Path(sys.executable).parent / "ray", "start", f"--address={head.gcs}", "--block", "--num-cpus=2",
            '--resources={"learner": 2}',
        ],
        env=head.env | {head.marker: "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    said, _ = asking.communicate(timeout=PATIENCE_S)
    assert node.poll() is None
    assert asking.returncode == 0
    assert said.splitlines()[-1] == "starts with 2.0"
