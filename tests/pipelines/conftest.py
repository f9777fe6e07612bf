"""A small training job on the lab, which tests can vary."""

from pathlib import Path

import pytest

from bots.config.train import load_config

LAB = Path(__file__).parents[2] / "configs" / "lab.yaml"
SMALL = [
    "run.steps=3",
    "run.checkpoint_every=2",
    "pool.sources.0.size=200",
    "selection.tasks=8",
    "rollout.samples=4",
    "rollout.engines=1",
    "learner.ranks=1",
    "learner.lr=1e-3",
    "evaluation.pool.sources.0.size=40",
    "evaluation.every=2",
]


@pytest.fixture
def small_job(tmp_path):
    """A function that creates the configuration, with further overrides."""

    def make(*overrides, name="small"):
        return load_config(LAB, [*SMALL, f"run.folder={tmp_path}", f"run.name={name}", *overrides])

    return make


@pytest.fixture(scope="session")
def finished_run(cluster, tmp_path_factory):
    """Configuration and summary of a finished run of three steps and two ranks. Its folder is read-only."""
    # Imported here, after the environment of this session's Ray is set.
    from pipelines.train import train

    folder = tmp_path_factory.mktemp("finished")
    config = load_config(LAB, [*SMALL, "learner.ranks=2", f"run.folder={folder}", "run.name=finished"])
    return config, train(config)
