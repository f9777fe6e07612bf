"""One Ray for the whole test session; every test that needs a cluster shares it."""

import os

from actors.environment import driver_environment

# Read by Ray when it is imported, so set before any test module does.
os.environ.update(driver_environment())
# A plain `ray.init` here must not meet a cluster that the person who runs the tests works on.
os.environ.pop("RAY_ADDRESS", None)
os.environ["PYTHONDONTWRITEBYTECODE"] = ""

import pytest


@pytest.fixture(scope="session")
def cluster():
    """A Ray with eight logical CPUs: enough for small jobs of every shape, whatever the machine has.

    With a dashboard, as every cluster has one: stopped trials need it to give back what they hold.
    """
    import ray

    ray.init(num_cpus=8, namespace="bots", include_dashboard=True, logging_level="error", log_to_driver=False)
    yield
    ray.shutdown()
