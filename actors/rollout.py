"""The rollout actor: a vLLM engine on the cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import ray

from bots.config import RolloutConfig
from bots.learning.rollouts import Rollout


@ray.remote
class RolloutActor:
    """Answers prompts and takes new weights. Its settings are the configuration's `rollout` section."""

    def __init__(self, name: str, model: str, config: RolloutConfig, seed: int) -> None:
        # vLLM is imported here, in the actor's process, under the environment made for it.
        from actors.engine import Engine, prepare_process

        prepare_process()
        self.name = name
        self.config = config
        self.engine = Engine(model, config, seed)
        self.busy_seconds = 0.0

    def ready(self) -> tuple[str, int]:
        """Return the actor's name and the engine's vocabulary size, once the engine is up."""
        return self.name, self.engine.vocab_size

    def generate(
        self,
        prompts: Sequence[np.ndarray],
        samples: int,
        temperature: float,
        seeds: Sequence[int] | None,
    ) -> tuple[list[list[Rollout]], float]:
        """Draw `samples` answers to each prompt; also return the seconds that this took."""
        started = time.perf_counter()
        rollouts = self.engine.generate(
            prompts,
            samples,
            max_tokens=self.config.max_tokens,
            temperature=temperature,
            top_p=self.config.top_p,
            seeds=seeds,
        )
        seconds = time.perf_counter() - started
        self.busy_seconds += seconds
        return rollouts, seconds

    def load(self, buckets: list[ray.ObjectRef], version: int) -> tuple[str, str, float]:
        """Load a policy version from the object store: the actor's name, the checksum and the seconds."""
        started = time.perf_counter()
        checksum = self.engine.load(ray.get(buckets), version)
        return self.name, checksum, time.perf_counter() - started
