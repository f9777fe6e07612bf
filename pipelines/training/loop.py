"""The training loop, top to bottom. Every rank of the learner group runs `train_loop`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import torch

from actors.fatal import FatalError
from actors.learner_watch import RankWatch
from actors.loading import loading
from actors.weights.sync import weight_sync_of
from bots.config.train import TrainConfig
from bots.learning.batching import RankBatch, make_rank_batches
from bots.learning.losses import make_loss
from pipelines.training import checkpoint
from pipelines.training.actors import ActorHandles
from pipelines.training.ranks import broadcast_flag, scatter, wait_with_rank_0
from pipelines.training.stopwatch import Stopwatch


@dataclass(frozen=True)
class LoopInputs:
    """What the driver passes to every rank. preemptible: whether the cluster may announce that nodes go away."""

    config: TrainConfig
    model: str
    handles: ActorHandles
    preemptible: bool


def train_loop(settings: dict[str, Any]) -> None:
    """Train under the watch of the other ranks: a rank that hangs is named, and Ray Train restarts the group.

    After a fatal error all ranks return as if they were done: if they raised it, Ray Train would restart the group for
    nothing. The driver gets the error from the coordinator.
    """
    inputs: LoopInputs = settings["inputs"]
    ranks = RankWatch(inputs.config.learner.timeout_s, ray.util.get_node_ip_address())
    with suppress(FatalError):
        ranks.run(lambda: train(inputs, ranks))


def train(inputs: LoopInputs, ranks: RankWatch) -> None:
    """Train until `run.steps`, starting at the newest checkpoint if there is one.

    Rank 0 requests batches from the coordinator and sends it new weights. Meanwhile the coordinator selects, generates
    and grades up to `rollout.max_staleness` policy versions ahead.
    """
    # Here because the driver imports this module too, and only the ranks need DeepSpeed.
    with loading():
        from actors.learner import Learner, NotFinite

    config, run = inputs.config, inputs.config.run
    torch.manual_seed(run.seed)
    torch.set_num_threads(config.learner.threads)
    learner = Learner(inputs.model, config.model, config.learner, config.rollout.temperature, ranks)
    # Only rank 0 talks to the actors; the other ranks hear from rank 0 through collectives.
    handles = inputs.handles if learner.rank == 0 else None
    done = checkpoint.restore(learner, handles)
    broker, coordinator = (handles.broker, handles.coordinator) if handles else (None, None)
    weight_sync = weight_sync_of(learner, broker, coordinator)
    weight_sync.send(done)
    score = last_score(handles)
    scores = evaluate(handles, done) if done == 0 else {}
    if handles and done == 0:
        score = scores.get("score")
        survey = ray.get(handles.posterior.survey.remote())
        ray.get(handles.journal.write.remote({"step": 0, **scores, **survey}))

    saved_for: set[str] = set()
    checkpoints = checkpoint.Checkpoints(learner, handles)
    watch = Stopwatch()
    for step in range(done + 1, run.steps + 1):
        record: dict[str, Any] = {}
        rank_batches: list[RankBatch] | None = None
        with watch("batch"):
            batch = from_rank_0(handles.coordinator.next_batch.remote(step) if handles else None)
        if handles:
            rank_batches, record = split_batch(batch, config, learner.packed, watch)
        try:
            with watch("learn"):
                metrics = learner.update(scatter(rank_batches), step)
        except NotFinite as error:
            # All ranks get this error. Raising it would make Ray Train retry for nothing; the journal tells the driver.
            if handles:
                end = {"step": step, "policy_version": step - 1, **record, "stopped": str(error)}
                ray.get(handles.journal.write.remote(end | watch.record()))
            return
        with watch("sync"):
            # Every engine loads them between two of its steps; its own checksum must equal this one.
            checksum = weight_sync.send(step)
        if handles:
            record |= metrics | {"weights": checksum}
        evaluating = step % config.evaluation.every == 0 or step == run.steps
        if evaluating:
            with watch("evaluate"):
                record |= evaluate(handles, step)
            score = record.get("score", score)
        if handles:
            with watch("write"):
                ray.get(handles.coordinator.kept.remote())
            record |= ray.get(handles.coordinator.observed.remote())
            if evaluating:
                record |= ray.get(handles.posterior.survey.remote())
        leaving = nodes_leaving(inputs)
        stopping = should_stop(handles)
        every = run.checkpoint_every
        if every and (step % every == 0 or step == run.steps or stopping or not leaving <= saved_for):
            with watch("checkpoint"):
                part = checkpoints.take(step, score)
            # Before the commit: a driver killed in between resumes from this checkpoint, and needs the line.
            watch = write_line(handles, step, record, watch)
            with watch("checkpoint"):
                checkpoint.commit(part)
            saved_for |= leaving
        else:
            watch = write_line(handles, step, record, watch)
        if stopping:
            return


def write_line(
    handles: ActorHandles | None, step: int, record: dict[str, Any], watch: Stopwatch
) -> Stopwatch:
    """Have the journal write a step's line; it is on disk when this returns. Nothing on the other ranks.

    Returns the next step's stopwatch: time spent after the line is written counts for the next step.
    """
    line = {"step": step, "policy_version": step, **record, **watch.record()}
    following = Stopwatch()
    if handles:
        with following("write"):
            ray.get(handles.journal.write.remote(line))
    return following


def from_rank_0(call: ray.ObjectRef[Any] | None) -> Any:
    """The result of a remote call that rank 0 made, on rank 0; None on the other ranks, which wait with it.

    Raises FatalError on all ranks if the call does.
    """
    wait_with_rank_0(None if call is None else lambda seconds: bool(ray.wait([call], timeout=seconds)[0]))
    result, fatal = None, False
    if call is not None:
        try:
            result = ray.get(call)
        except FatalError:
            fatal = True
    if broadcast_flag(fatal):
        raise FatalError("the coordinator failed; all ranks stop")
    return result


def evaluate(handles: ActorHandles | None, step: int) -> dict[str, Any]:
    """A step's held-out scores; empty on the other ranks."""
    return from_rank_0(handles.coordinator.evaluate.remote(step) if handles else None) or {}


def split_batch(
    batch: Any, config: TrainConfig, packed: bool, watch: Stopwatch
) -> tuple[list[RankBatch], dict[str, Any]]:
    """The coordinator's groups of a step as one batch per rank, and the metrics that came with them."""
    groups, record, waited = batch
    with watch("batch"):
        rank_batches = make_rank_batches(
            groups,
            make_loss(config.learner.loss, config.learner.loss_options),
            config.learner.ranks,
            config.learner.tokens_per_micro_batch,
            config.rollout.max_tokens,
            penalised=config.learner.kl_coefficient > 0,
            packed=packed,
            group_weights=config.learner.group_weights,
            mask_truncated=config.learner.mask_truncated,
        )
    # Time spent waiting for selection, engines and graders is not the batch's own.
    for phase, seconds in waited.items():
        watch.move("batch", phase, seconds)
    return rank_batches, record


def should_stop(handles: ActorHandles | None) -> bool:
    """Whether the driver asked the run to stop, the same on all ranks."""
    return broadcast_flag(handles is not None and ray.get(handles.coordinator.stopping.remote()))


def last_score(handles: ActorHandles | None) -> float | None:
    """The newest evaluation score in the journal."""
    records = ray.get(handles.journal.since.remote(0)) if handles else []
    return next((record["score"] for record in reversed(records) if "score" in record), None)


def nodes_leaving(inputs: LoopInputs) -> set[str]:
    """Ids of the group's nodes that the cluster has announced to take away; there is time for a checkpoint."""
    info = ray.train.get_preemption_info() if inputs.preemptible else None
    return set(info.preempted_node_ids) if info is not None else set()
