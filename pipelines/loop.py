"""The training step, from top to bottom. Every rank of the learner group runs `train_loop`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import ray.train
import torch
import torch.distributed as dist

from actors.weight_format import Checksum
from bots.config import TrainConfig
from bots.learning.batching import Shard, make_shards
from bots.learning.rollouts import Group
from bots.metrics import effective_task_ratio
from pipelines import checkpoint
from pipelines.crew import Conductor, Crew
from pipelines.stopwatch import Stopwatch

if TYPE_CHECKING:
    from actors.learner import Learner


@dataclass(frozen=True)
class Job:
    """What the driver hands to every rank; pools are references into the object store."""

    config: TrainConfig
    model: str
    crew: Crew
    train: ray.ObjectRef
    evaluation: ray.ObjectRef


def train_loop(settings: dict[str, Any]) -> None:
    """Train until `run.steps`, from the newest checkpoint if there is one."""
    # Only the ranks need DeepSpeed; the driver imports this module too.
    from actors.learner import Learner

    job: Job = settings["job"]
    config, crew = job.config, job.crew
    torch.manual_seed(config.run.seed)
    torch.set_num_threads(config.learner.threads)
    learner = Learner(job.model, config.model, config.learner, config.rollout.temperature)
    first = learner.rank == 0
    conductor = Conductor(crew, config, *ray.get([job.train, job.evaluation])) if first else None
    done = checkpoint.restore(learner, crew if first else None)

    if conductor:
        conductor.prefetch_selection(done + 1)
    sync_weights(learner, conductor, version=done)
    if conductor and done == 0:
        ray.get(crew.journal.write.remote({"step": 0, **conductor.evaluate()}))

    for step in range(done + 1, config.run.steps + 1):
        watch = Stopwatch()
        record: dict[str, float] = {}
        shards: list[Shard] | None = None
        if conductor:
            shards, record, observed = experience(conductor, step, config, watch)
        with watch("learn"):
            figures = learner.update(scatter(shards), step)
        with watch("sync"):
            synced = sync_weights(learner, conductor, version=step)
        if conductor:
            record |= figures | synced
            if step % config.evaluation.every == 0 or step == config.run.steps:
                with watch("evaluate"):
                    record |= conductor.evaluate()
            record |= ray.get(observed)
        every = config.run.checkpoint_every
        if every and (step % every == 0 or step == config.run.steps):
            with watch("checkpoint"):
                checkpoint.save(learner, crew if first else None, step)
        if first:
            ray.get(
                crew.journal.write.remote({"step": step, "policy_version": step, **record, **watch.record()})
            )


def experience(
    conductor: Conductor, step: int, config: TrainConfig, watch: Stopwatch
) -> tuple[list[Shard], dict[str, float], ray.ObjectRef]:
    """Rank 0's half of a step: tasks → answers → rewards → beliefs → batch."""
    with watch("select"):
        rows, select_seconds, select_wait = conductor.selection()
    with watch("generate"):
        groups, busy = conductor.rollouts(step, rows)
    with watch("grade"):
        conductor.grade(groups, conductor.train)
        # A partial group would bias its advantage, so one that could not be graded is dropped whole.
        graded = [group for group in groups if group.graded]
        if not graded:
            raise RuntimeError(f"no group of step {step} could be graded: {groups[0].reasons[0]}")
    if config.run.keep_rollouts:
        conductor.keep_rollouts(step, groups)
    # The beliefs need the rewards, not the new weights: the next tasks are drawn while this batch trains.
    observed = conductor.observe(step, graded)
    conductor.prefetch_selection(step + 1)
    with watch("batch"):
        shards = make_shards(
            graded,
            config.learner.loss,
            config.learner.ranks,
            config.learner.tokens_per_micro_batch,
            config.rollout.max_tokens,
        )
    generate_seconds = watch.record()["seconds/generate"]
    record = batch_figures(graded) | {
        "dropped_groups": len(groups) - len(graded),
        "staleness": max(step - 1 - r.version for g in groups for r in g.rollouts),
        "select_seconds": select_seconds,
        "select_wait_seconds": select_wait,
        "engine_busy_share": sum(busy) / (len(busy) * generate_seconds),
    }
    return shards, record, observed


def batch_figures(groups: list[Group]) -> dict[str, float]:
    """What a batch of graded groups shows of itself."""
    rewards = np.stack([group.rewards for group in groups])
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return {
        "etr": effective_task_ratio(rewards),
        "reward": float(rewards.mean()),
        "tokens": sum(len(rollout.token_ids) for rollout in rollouts),
        "finished_share": float(np.mean([rollout.finished for rollout in rollouts])),
    }


def sync_weights(learner: Learner, conductor: Conductor | None, version: int) -> dict[str, Any]:
    """Bring the learner's weights into every engine. All ranks call it; rank 0 gets the checksum."""
    checksum = Checksum()
    published = []
    for bucket in learner.weight_buckets():
        if conductor:
            published.append(conductor.publish(version, bucket, checksum))
    if not conductor:
        return {}
    ray.get(published)
    seconds = conductor.load_weights(version, checksum.hexdigest())
    return {"weights": checksum.hexdigest(), "weights_load_seconds": seconds}


def scatter(shards: list[Shard] | None) -> Shard:
    """Rank 0's shards, one to each rank."""
    mine: list[Shard | None] = [None]
    dist.scatter_object_list(mine, shards, src=0)
    if mine[0] is None:
        raise RuntimeError("rank 0 sent no shard")
    return mine[0]
