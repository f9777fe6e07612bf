"""The cluster's configurations fit the cluster's files; what cannot fit is refused with the arithmetic."""

from pathlib import Path

import pytest
import yaml

from bots.config.train import load_config
from bots.config.tree import ConfigError
from pipelines.shared import resources

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("guru_*_7b.yaml"))
MACHINES = yaml.safe_load((ROOT / "cluster.yaml").read_text())["available_node_types"]


def largest():
    """The most that cluster.yaml provides, by resource."""
    total = {}
    for node in MACHINES.values():
        for kind, amount in node["resources"].items():
            total[kind] = total.get(kind, 0) + amount * node.get("max_workers", 1)
    return total


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_engine_and_rank_has_a_place_on_a_machine_of_its_role(path):
    config = load_config(path)
    assert config.rollout.resources == {"rollout": 1}
    assert config.learner.resources == {"learner": 1}
    all_engines = load_config(path, [f"rollout.min_engines={config.rollout.engines}"])
    resources.check(resources.plan(all_engines), largest())
    engines, ranks, *graders = resources.plan(config)
    left = 0.0
    for demand, role in ((engines, "rollout"), (ranks, "learner")):
        machine, places = MACHINES[role]["resources"], MACHINES[role]["resources"][role]
        assert demand.cpus * places <= machine["CPU"], f"a {role} machine has CPUs for all its places"
        assert demand.gpus * places == machine["GPU"]
        left = max(left, machine["CPU"] - demand.cpus * places)
    assert sum(demand.count * demand.cpus for demand in graders) <= left, (
        "and one of them has room for all graders"
    )


def test_a_role_that_the_cluster_does_not_offer_is_refused_by_name():
    config = load_config(ROOT / "configs" / "lab.yaml", ["rollout.engines=3", "rollout.resources.rollout=1"])
    with pytest.raises(resources.ResourceError) as refused:
        resources.check(resources.plan(config), {"CPU": 64.0, "rollout": 2.0})
    said = str(refused.value)
    assert "asks for 3 rollout = 3 x 1 (rollout engine); the cluster has 2" in said
    assert "Lower rollout.engines, rollout.resources" in said
    assert "3 x rollout engine: 0.5 CPU, 0 GPU, 1 rollout each" in resources.describe(resources.plan(config))


def test_an_address_is_no_run_folder():
    with pytest.raises(ConfigError, match=r"run.folder: is an address.*it is 's3://bucket/runs'"):
        load_config(ROOT / "configs" / "lab.yaml", ["run.folder=s3://bucket/runs"])
