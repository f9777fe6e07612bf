"""Places of ranks, engines, graders and weights on nodes with GPUs that only Ray believes in."""

import json
import os
import subprocess
import sys

import pytest

from pipelines.shared.ray_session import START_LIMITS

pytestmark = [pytest.mark.slow, pytest.mark.ray]

PROGRAM = '''
import json, time
import numpy as np
import ray
from ray._private.internal_api import node_stats
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group, placement_group_table
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from actors.weights.broker import WeightBroker
from bots.config.train import TrainConfig
from bots.config.tree import parse_config
from pipelines.shared import placement, resources

def job(ranks, engines, engine_gpus=1, grader_cpus=0, rank_cpus=1):
    return parse_config(TrainConfig, {
        "run": {"name": "placed", "steps": 1}, "model": {"path": "x"},
        "pool": {"sources": [{"kind": "lab", "size": 9}]},
        "rollout": {"engines": engines, "gpus": engine_gpus},
        "learner": {"ranks": ranks, "gpus": 1, "cpus": rank_cpus},
        "grading": {"actors": 2, "cpus": grader_cpus},
    }, "test")

def nodes_of(group):
    ids = placement_group_table(group)["bundles_to_node_id"]
    return [names[ids[i]] for i in sorted(ids)]

def begin(config):
    resources.wait_for_resources(resources.plan(config), 0)
    return placement.places(config, 5)

def placed(config):
    """Nodes of ranks, engines and graders, and of the ranks again when Ray Train asks for their places."""
    with begin(config) as reserved:
        found = {"ranks": nodes_of(reserved.learners)}
        others = nodes_of(reserved.engines.group)
        found["engines"] = others[:config.rollout.engines]
        if reserved.graders:
            found["graders"] = others[reserved.graders.first:]
        reserved.release_learners()
        again = placement_group([resources.learners(config).bundle] * config.learner.ranks)
        assert again.wait(20)
        found["ranks again"] = nodes_of(again)
        ray.util.remove_placement_group(again)
        assert reserved.learners is None
    return found

def refused(config):
    try:
        with begin(config):
            pass
    except resources.ResourceError as error:
        return str(error)

results = {}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 16, "num_gpus": 8, "include_dashboard": False})
ray.init(address=cluster.address, logging_level="error", log_to_driver=False)
names = {node["NodeID"]: "large" for node in ray.nodes()}
with placement.places(job(4, 4), 5) as reserved:
    results["one node"] = [reserved.learners, reserved.engines, reserved.graders]
small = cluster.add_node(num_cpus=16, num_gpus=4)
cluster.wait_for_nodes()
names |= {node["NodeID"]: "small" for node in ray.nodes() if node["NodeID"] not in names}
results["8 and 4"] = placed(job(8, 4))
results["tensor parallel"] = placed(job(4, 2, engine_gpus=4, grader_cpus=1))
results["graders"] = placed(job(8, 4, grader_cpus=8))
results["two large engines"] = refused(job(1, 2, engine_gpus=5))
results["a large rank"] = refused(job(2, 1, rank_cpus=13, grader_cpus=2))
for _ in range(200):
    if ray.available_resources()["GPU"] == 12:
        break
    time.sleep(0.1)
results["free"] = ray.available_resources()["GPU"]

def on(name):
    (node,) = [id for id, said in names.items() if said == name]
    return NodeAffinitySchedulingStrategy(node, soft=False)

@ray.remote(num_cpus=0)
def send(broker, version):
    """What rank 0 does, with 8 MB of weights in two buckets."""
    keeper = ray.get(broker.keeper.remote(ray.get_runtime_context().get_node_id()))
    ray.get([keeper.publish.remote(version, [(name, np.ones(10**6, np.float32))]) for name in "ab"])

@ray.remote(num_cpus=0)
def load(broker):
    """What an engine does."""
    version, buckets = ray.get(broker.references.remote())
    return version, [name for bucket in buckets for name, _ in ray.get(bucket)]

def put_on(name):
    """MB that have been put into a node's store so far, or fetched by it."""
    (node,) = [node for node in ray.nodes() if names[node["NodeID"]] == name]
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False)
    return round(stats.store_stats.cumulative_created_bytes / 1e6)

broker = WeightBroker.options(scheduling_strategy=on("large")).remote()
before = put_on("large")
ray.get(send.options(scheduling_strategy=on("small")).remote(broker, 7))
results["loaded there"] = ray.get(load.options(scheduling_strategy=on("small")).remote(broker))
results["large holds"] = put_on("large") - before
results["small holds"] = put_on("small")
results["loaded here"] = ray.get(load.options(scheduling_strategy=on("large")).remote(broker))
results["large has fetched"] = put_on("large") - before
# The learner group starts again, on the broker's own node.
ray.get(send.options(scheduling_strategy=on("large")).remote(broker, 6))
results["loaded after that"] = ray.get(load.options(scheduling_strategy=on("small")).remote(broker))
# And again on the other one, which is lost.
ray.get(send.options(scheduling_strategy=on("small")).remote(broker, 9))
cluster.remove_node(small, allow_graceful=False)
for _ in range(600):
    results["without its node"], references = ray.get(broker.references.remote())
    if not references:
        break
    time.sleep(0.1)
print(json.dumps(results))
'''


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | START_LIMITS,
    )
    assert done.returncode == 0, done.stderr
    # Ray prints the log of the node that was taken away, too.
    (line,) = [line for line in done.stdout.splitlines() if line.startswith('{"one node"')]
    return json.loads(line)


def test_on_one_node_nothing_is_reserved(found):
    assert found["one node"] == [None, None, None]


def test_ranks_are_together_and_engines_take_what_is_left(found):
    places = found["8 and 4"]
    assert places["ranks"] == places["ranks again"] == ["large"] * 8
    assert places["engines"] == ["small"] * 4


def test_a_tensor_parallel_engine_gets_the_gpus_of_one_node(found):
    places = found["tensor parallel"]
    assert len(set(places["ranks again"])) == 1
    assert sorted(places["engines"]) == ["large", "small"] or set(places["engines"]) == {"large"}


def test_graders_have_cpus_of_their_own(found):
    assert sorted(found["graders"]["graders"]) == ["large", "small"], (
        "8 CPUs each, beside 8 ranks and 4 engines"
    )


def test_what_no_node_can_hold_is_refused_with_what_the_nodes_have_free(found):
    said = found["two large engines"]
    assert said.startswith(
        "the cluster has enough in all, but no room for 2 x rollout engine of 1 CPU, 5 GPU: each"
    )
    assert "15 CPU, 7 GPU" in said, "one is a rank's"
    assert "16 CPU, 4 GPU" in said
    assert "Lower rollout.engines, rollout.cpus" in said
    assert found["a large rank"] is None, (
        "13 of 16 CPUs on either node, an engine with 1 and graders with 2 beside them"
    )
    assert found["free"] == 12, "what was reserved is given back"


def test_weights_lie_where_the_learner_and_the_engines_are(found):
    names = ["a", "b"]
    assert found["loaded there"] == [7, names]
    assert found["large holds"] == 0, "the broker's own node"
    assert 8 <= found["small holds"] <= 20, "what was sent and what is kept"
    assert found["loaded here"] == [7, names]
    assert 8 <= found["large has fetched"] <= 9
    assert found["loaded after that"] == [6, names]
    assert found["without its node"] == -1
