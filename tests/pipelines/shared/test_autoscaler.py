"""A job does not wait for a cluster that nothing can enlarge."""

import subprocess
import sys

import pytest

from tests.heads import started_head

pytestmark = pytest.mark.ray

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


@pytest.mark.slow
@pytest.mark.parametrize("version", ["0", "1"])
def test_a_plain_cluster_is_told_at_once_that_nothing_will_come(version):
    with started_head(RAY_enable_autoscaler_v2=version) as head:
        env = head.env | {"RAY_ADDRESS": head.gcs}
        done = subprocess.run([sys.executable, "-c", ASKING], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The autoscaler's own lines come first.
    said = done.stdout.splitlines()[-1]
    assert said.startswith("True the run asks for 2 learner")
    assert "waiting would be in vain" in said
