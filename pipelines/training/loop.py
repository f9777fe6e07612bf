"""The training step, from top to bottom. Every rank of the learner group runs `train_loop`."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
import ray.train
import torch

from actors.fatal import FatalError
from actors.learner_watch import RankWatch
from actors.loading import loading
from actors.weights.sync import weight_sync_of
from bots.config.train import TrainConfig
from bots.learning.batching import RankBatch, make_rank_batches
from pipelines.training import checkpoint
from pipelines.training.actors import Crew
from pipelines.training.ranks import heard_by_all, scatter, wait_together
from pipelines.training.stopwatch import Stopwatch

if TYPE_CHECKING:
    from actors.learner import Learner


@dataclass(frozen=True)
class Job:
    """What the driver hands to every rank. preemptible: whether nodes may be announced to go away."""

    config: TrainConfig
    model: str
    crew: Crew
    preemptible: bool


def train_loop(settings: dict[str, Any]) -> None:
    """Train under the other ranks' eyes: one that hangs is named, and Ray Train starts the group again.

    What is fatal ends all ranks alike, as if they were done: if it were raised here, Ray Train would start the group
    again, in vain. The driver asks the coordinator for it.
    """
    job: Job = settings["job"]
    ranks = RankWatch(job.config.learner.timeout_s, ray.util.get_node_ip_address())
    with suppress(FatalError):
        ranks.run(lambda: train(job, ranks))


def train(job: Job, ranks: RankWatch) -> None:
    """Train until `run.steps`, from the newest checkpoint if there is one.

    Rank 0 asks the coordinator for batches and hands it new weights; selection, generation and grading go on
    in the coordinator meanwhile, up to `rollout.max_staleness` policy versions ahead.
    """
    # Only the ranks need DeepSpeed; the driver imports this module too.
    with loading():
        from actors.learner import Learner, NotFinite

    config, run = job.config, job.config.run
    torch.manual_seed(run.seed)
    torch.set_num_threads(config.learner.threads)
    learner = Learner(job.model, config.model, config.learner, config.rollout.temperature, ranks)
    # The others only learn: what they are told by rank 0, they are told through the group.
    crew = job.crew if learner.rank == 0 else None
    done = checkpoint.restore(learner, crew)
    sync_weights(learner, crew, version=done)
    score = last_score(crew)
    scores = evaluate(crew, done) if done == 0 else {}
    if crew and done == 0:
        score = scores.get("score")
        survey = ray.get(crew.posterior.survey.remote())
        ray.get(crew.journal.write.remote({"step": 0, **scores, **survey}))

    saved_for: set[str] = set()
    watch = Stopwatch()
    for step in range(done + 1, run.steps + 1):
        record: dict[str, Any] = {}
        shards: list[RankBatch] | None = None
        with watch("batch"):
            batch = answer(crew.coordinator.next_batch.remote(step) if crew else None)
        if crew:
            shards, record = share_out(batch, config, learner.packed, watch)
        try:
            with watch("learn"):
                figures = learner.update(scatter(shards), step)
        except NotFinite as error:
            # On all ranks alike, and the journal has it for the driver. Raised here it would be tried again, in vain.
            if crew:
                end = {"step": step, "policy_version": step - 1, **record, "stopped": str(error)}
                ray.get(crew.journal.write.remote(end | watch.record()))
            return
        with watch("sync"):
            synced = sync_weights(learner, crew, version=step)
        if crew:
            record |= figures | synced
        evaluating = step % config.evaluation.every == 0 or step == run.steps
        if evaluating:
            with watch("evaluate"):
                record |= evaluate(crew, step)
            score = record.get("score", score)
        if crew:
            with watch("write"):
                ray.get(crew.coordinator.kept.remote())
            record |= ray.get(crew.coordinator.observed.remote())
            if evaluating:
                record |= ray.get(crew.posterior.survey.remote())
        leaving = nodes_leaving(job)
        stopping = asked_to_stop(crew)
        every = run.checkpoint_every
        if every and (step % every == 0 or step == run.steps or stopping or not leaving <= saved_for):
            with ExitStack() as until_committed:
                with watch("checkpoint"):
                    folder = until_committed.enter_context(checkpoint.prepared(learner, crew, step, score))
                # Before the commit: a driver killed in between resumes from the checkpoint, and would miss the line.
                watch = write_line(crew, step, record, watch)
                with watch("checkpoint"):
                    checkpoint.commit(folder, step, score)
            saved_for |= leaving
        else:
            watch = write_line(crew, step, record, watch)
        if stopping:
            return


def write_line(crew: Crew | None, step: int, record: dict[str, Any], watch: Stopwatch) -> Stopwatch:
    """Have the journal write a step's line; it is on disk when this returns. Nothing on the other ranks.

    Returns the stopwatch of the next step: what comes after the line can't be in it, so it counts there.
    """
    line = {"step": step, "policy_version": step, **record, **watch.record()}
    following = Stopwatch()
    if crew:
        with following("write"):
            ray.get(crew.journal.write.remote(line))
    return following


def answer(call: ray.ObjectRef | None) -> Any:
    """What a call of rank 0 gives, for which all ranks wait; None on the others.

    Raises FatalError on all ranks alike if it came to that.
    """
    wait_together(None if call is None else lambda seconds: bool(ray.wait([call], timeout=seconds)[0]))
    given, fatal = None, False
    if call is not None:
        try:
            given = ray.get(call)
        except FatalError:
            fatal = True
    if heard_by_all(fatal):
        raise FatalError("what rank 0 waited for cannot come")
    return given


def evaluate(crew: Crew | None, step: int) -> dict[str, Any]:
    """The held-out scores of a step; nothing on the other ranks."""
    return answer(crew.coordinator.evaluate.remote(step) if crew else None) or {}


def share_out(
    batch: Any, config: TrainConfig, packed: bool, watch: Stopwatch
) -> tuple[list[RankBatch], dict[str, Any]]:
    """A step's groups from the coordinator, shared out over the ranks, and the figures that came with them."""
    groups, record, waited = batch
    with watch("batch"):
        shards = make_rank_batches(
            groups,
            config.learner.loss,
            config.learner.ranks,
            config.learner.tokens_per_micro_batch,
            config.rollout.max_tokens,
            penalised=config.learner.kl_coefficient > 0,
            packed=packed,
        )
    # The batch itself took what is left after the waiting for selection, engines and graders.
    for phase, seconds in waited.items():
        watch.move("batch", phase, seconds)
    return shards, record


def sync_weights(learner: Learner, crew: Crew | None, version: int) -> dict[str, Any]:
    """Publish the learner's weights; every engine loads them between two of its steps. All ranks call it.

    Rank 0 gets the checksum, which the engines' own must equal. The learner does not wait for the engines.
    """
    broker, coordinator = (crew.broker, crew.coordinator) if crew else (None, None)
    sync = weight_sync_of(learner, broker, coordinator)
    checksum = sync.send(version)
    return {"weights": checksum} if crew else {}


def asked_to_stop(crew: Crew | None) -> bool:
    """Whether the driver was told to stop. All ranks call it and hear from rank 0, so that none goes on alone."""
    return heard_by_all(crew is not None and ray.get(crew.coordinator.stopping.remote()))


def last_score(crew: Crew | None) -> float | None:
    """The newest evaluation's score that the journal holds."""
    records = ray.get(crew.journal.since.remote(0)) if crew else []
    return next((record["score"] for record in reversed(records) if "score" in record), None)


def nodes_leaving(job: Job) -> set[str]:
    """Nodes of this group that are announced to be taken away; there is time for a checkpoint."""
    info = ray.train.get_preemption_info() if job.preemptible else None
    return set(info.preempted_node_ids) if info is not None else set()
