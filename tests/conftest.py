"""One Ray for the whole test session; every test that needs a cluster shares it."""

import os
import re
from pathlib import Path

from actors.environment import driver_environment

# Read by Ray when it is imported, so set before any test module does.
os.environ.update(driver_environment())
# A plain `ray.init` here must not meet a cluster that the person who runs the tests works on.
os.environ.pop("RAY_ADDRESS", None)
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
# The suite is two processes on two cores: threads of one that wait for each other burn what the other one needs.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

NEEDS_RAY = re.compile(r"\b(ray|cluster|finished_run)\b")
"""What the text of every test file with a Ray test has in it."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m ray`, do not even import files without such tests: third-party trainers alone take 13 s."""
    if config.option.markexpr == "ray" and collection_path.match("test_*.py"):
        return not NEEDS_RAY.search(collection_path.read_text()) or None
    return None


@pytest.hookimpl(tryfirst=True)  # before pytest selects by `-m`
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses `cluster`, so that `-m ray` and `-m "not ray"` divide the suite in two."""
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")
        # The other half reads every file, so a Ray test that `-m ray` would overlook is found there.
        if item.get_closest_marker("ray") and not NEEDS_RAY.search(item.path.read_text()):
            raise pytest.UsageError(
                f"{item.nodeid} starts Ray, but `-m ray` would not read its file (NEEDS_RAY)"
            )


@pytest.fixture(scope="session")
def cluster():
    """A Ray with eight logical CPUs: enough for small jobs of every shape, whatever the machine has.

    With a dashboard, as every cluster has one: stopped trials need it to give back what they hold.
    """
    import ray

    from actors.fork_server import fork_server
    from pipelines.shared import ray_session
    from tests.heads import QUIET

    with pytest.MonkeyPatch.context() as patched:
        for name, value in QUIET.items():
            patched.setenv(name, value)
        # As a job starts its own: a busy machine gets a second attempt.
        with fork_server():
            ray_session._init(address="local", num_cpus=8, include_dashboard=True)
            yield
            ray.shutdown()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of published data sets that the repository does not carry, named by `BOTS_TEST_DATA`.

    `gsm8k/{train,test}.jsonl`, `humaneval/HumanEval.jsonl.gz` and `recordings/*.parquet`, as published.
    A test that asks for it is skipped, with the reason, where the variable is unset.
    """
    folder = os.environ.get("BOTS_TEST_DATA")
    if not folder:
        pytest.skip("BOTS_TEST_DATA is unset: it names the folder of published data sets (gsm8k, humaneval)")
    if not Path(folder).is_dir():
        pytest.fail(f"BOTS_TEST_DATA is {folder!r}, which is not a folder")
    return Path(folder)
