"""A run's actors for tests of the coordinator: all are real except the engines."""

import numpy as np
import pyarrow as pa
import ray

from actors.coordinator import Coordinator
from actors.journal import Journal
from actors.partners import Partners
from actors.posterior import PosteriorActor, write_pool
from actors.weights.broker import WeightBroker
from benchmarks.fake_engine import FakeEngineActor, Law
from bots.config.train import TrainConfig
from bots.config.tree import parse_config
from bots.pool import TaskPool
from bots.rollouts.encoded_pool import EncodedPool, Prompts

TASKS, SAMPLES, STALENESS = 16, 4, 2


def encoded_pool(size):
    table = pa.table(
        {
            "id": [f"t{i}" for i in range(size)],
            "prompt": [str(i) for i in range(size)],
            "answer": ["1"] * size,
            "grader": ["exact"] * size,
        }
    )
    return EncodedPool(TaskPool.from_arrow(table), Prompts([np.array([i], np.int32) for i in range(size)]))


class Crew:
    """A run's actors, and what a learner does with them. A task's prompt is its row, which is also its only token."""

    def __init__(
        self,
        folder,
        graders,
        engines=4,
        staleness=STALENESS,
        timeout_s=20.0,
        start_timeout_s=None,
        pool_size=500,
        evaluation_size=0,
        engine=FakeEngineActor,
        **selection,
    ):
        encoded = encoded_pool(pool_size)
        pool = encoded.pool
        self.config = parse_config(
            TrainConfig,
            {
                "run": {"name": "kills", "steps": 1000, "folder": str(folder), "keep_rollouts": False},
                "model": {"path": "lab:base"},
                "pool": {"sources": [{"kind": "lab", "size": 10, "seed": 1}]},
                "selection": {"tasks": TASKS, "evidence": "none", **selection},
                "rollout": {
                    "samples": SAMPLES, "max_tokens": 200, "max_staleness": staleness, "timeout_s": timeout_s,
                    "start_timeout_s": start_timeout_s, "max_num_seqs": 32, "engines": engines,
                },
                "grading": {"actors": len(graders)},
            },
            "test",
        )  # fmt: skip
        write_pool(pool, folder / "pool.arrow")
        settings = self.config.selection.settings(SAMPLES, 0)
        self.posterior = PosteriorActor.remote(
            str(folder / "pool.arrow"), pool.anchor_columns, settings, str(folder / "posterior")
        )
        self.broker = WeightBroker.remote()
        self.journal = Journal.remote(str(folder))
        law = Law(tokens_per_second=200.0)
        self.engines = [engine.remote(f"rollout-{i}", law) for i in range(engines)]
        self.graders = graders
        self.pools = ray.put(encoded), ray.put(encoded_pool(evaluation_size) if evaluation_size else None)
        self.coordinator = Coordinator.remote(self.config, str(folder))
        self.partners = Partners(
            self.posterior,
            self.broker,
            self.journal,
            [(f"rollout-{i}", engine) for i, engine in enumerate(self.engines)],
            [(f"grader-{i}", grader) for i, grader in enumerate(self.graders)],
        )

    def dismiss(self):
        for actor in [
            self.coordinator,
            self.posterior,
            self.broker,
            self.journal,
            *self.engines,
            *self.graders,
        ]:
            ray.kill(actor)

    def restore(self, checkpoint=None):
        ray.get(self.coordinator.restore.remote(checkpoint, self.partners, *self.pools), timeout=180)

    def publish(self, version):
        """What a learner does after its step. The fake engines take the bucket itself as its checksum."""
        ray.get(self.broker.publish.remote(version, f"sum{version}"))
        ray.get(self.coordinator.new_weights.remote(version, f"sum{version}"))

    def pids(self):
        """Processes that may be killed, by name; processes that are down are left out."""
        actors = {f"engine {i}": e for i, e in enumerate(self.engines)}
        actors |= {f"grader {i}": g for i, g in enumerate(self.graders)} | {"posterior": self.posterior}
        calls = {name: actor.pid.remote() for name, actor in actors.items()}
        found = {}
        for name, call in calls.items():
            try:
                found[name] = ray.get(call, timeout=0.5)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
                continue
        return found

    def first_step(self):
        """What a learner does first; returns the groups to train on, and the metrics."""
        self.restore()
        self.publish(0)
        groups, figures, _ = ray.get(self.coordinator.next_batch.remote(1), timeout=120)
        return groups, figures
