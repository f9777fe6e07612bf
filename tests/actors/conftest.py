"""Learner groups: real ranks under Ray Train."""

import sys

import pytest
import ray
import ray.train
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from actors.environment import learner_environment

# Ray's workers cannot import test modules, since they are not installed.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def loop(settings):
    results = settings["function"](*settings["arguments"])
    if ray.train.get_context().get_world_rank() == 0:
        ray.get(settings["box"].put.remote(results))


@ray.remote(num_cpus=0)
class Box:
    def put(self, value):
        self.value = value

    def get(self):
        return self.value


@pytest.fixture(scope="session")
def run_group(cluster, tmp_path_factory):
    """A function that runs another function on every rank of a new group and returns rank 0's result."""

    def run(ranks, function, *arguments):
        ray.cloudpickle.register_pickle_by_value(sys.modules[function.__module__])
        box = Box.remote()
        TorchTrainer(
            loop,
            train_loop_config={"function": function, "arguments": arguments, "box": box},
            scaling_config=ScalingConfig(num_workers=ranks, resources_per_worker={"CPU": 0.5}),
            torch_config=TorchConfig(backend="gloo"),
            run_config=RunConfig(
                storage_path=str(tmp_path_factory.mktemp("group")),
                worker_runtime_env={"env_vars": learner_environment(1, False)},
            ),
        ).fit()
        return ray.get(box.get.remote())

    return run
