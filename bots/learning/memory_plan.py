"""How much memory a run needs, before anything starts: of a learner rank, of an engine, of the host and on disk."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bots.config.train import TrainConfig
from bots.learning.footprint import Footprint
from bots.learning.forward import PLAIN_BYTES
from bots.learning.logprobs import LogprobHead

GIB = 2**30
ITEM = {"float32": 4, "float16": 2, "bfloat16": 2, "auto": 2}
SYNC_BYTES = 64 * 2**20
REDUCE_ELEMENTS = 5 * 10**8
"""DeepSpeed's buckets for reducing gradients, in elements."""
LIVE_ELEMENTS = 10**9
"""Parameters that DeepSpeed keeps whole at a time under ZeRO-3."""
SUB_GROUP_ELEMENTS = 10**9
"""Parameters that a rank steps at a time under ZeRO-3."""
BLOCK = 32
"""Tokens of which an engine's cache has place for all or none."""
SPARE = 0.1
"""Share of a learner's GPU for what is not planned: CUDA's context, NCCL's buffers, fragmentation."""
ENGINE_RESERVE_GIB = 2.0
"""Left to an engine's activations and CUDA graphs."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """One use of memory. lower: what makes it smaller, so that it can follow "smaller with"."""

    name: str
    bytes: float
    lower: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """What one process, or one place, needs at its peak. where: "GPU", "memory" or "disk"."""

    what: str
    where: str
    parts: tuple[MemoryUse, ...]

    @property
    def bytes(self) -> float:
        """All of it."""
        return sum(part.bytes for part in self.parts)


def learner_rank(config: TrainConfig, model: Footprint, packed: bool) -> Need:
    """The peak of one rank: ZeRO's states (arXiv 1910.02054, section 3.1), and whatever comes and goes beside them.

    Backward pass, optimizer step and sync come one after the other, so only the largest of the three counts.
    """
    learner = config.learner
    item, stage, ranks = ITEM[config.model.dtype], learner.zero_stage, learner.ranks
    half = config.model.dtype != "float32"
    trained = model.parameters if learner.lora is None else _adapters(config, model)
    share = trained / (ranks if stage >= 1 else 1)
    weights = item * model.parameters / (ranks if stage == 3 else 1)
    if config.learner.kl_coefficient > 0 and learner.lora is None:
        weights += item * model.parameters
    # Master weights wherever DeepSpeed keeps some: in half precision, and from stage 1 on.
    optimizer = (12 if half or stage else 8) * share
    # The head's gradient comes while all activations are kept, and is then added to what earlier micro-batches left.
    new = item * model.vocabulary * model.width if learner.lora is None else 0
    held, exchange = _gradients(stage, item, trained, share, model.largest)
    gradients = held + new
    live = min(LIVE_ELEMENTS, model.parameters) * item if stage == 3 and ranks > 1 else 0
    activations, logits = _activations(config, model, learner.tokens_per_micro_batch, packed)
    if trained > REDUCE_ELEMENTS:
        # The bucket is full before the backward pass has ended, but not before the logits are gone.
        gradients += max(0.0, exchange - logits.bytes)
    backward = gradients + activations.bytes + logits.bytes + live
    # ZeRO-3 keeps the gradients' own place and the bucket for the next step.
    kept = held if stage == 3 else 0.0
    later = max(held + exchange, kept + _step(stage, trained, share), kept + _sync(item, model)) - backward
    return Need(
        "learner rank",
        "GPU" if learner.gpus else "memory",
        (
            MemoryUse("weights", weights, _divided(config, 3, by_adapters=False)),
            MemoryUse("gradients", gradients, _divided(config, 2)),
            MemoryUse("optimizer", optimizer, _divided(config, 1)),
            activations,
            logits,
            MemoryUse("gathered", live, "learner.zero_stage=2"),
            MemoryUse("more in a step or a sync", max(0.0, later), _divided(config, 1)),
        ),
    )


def _divided(config: TrainConfig, stage: int, by_adapters: bool = True) -> str:
    """Keys that make something smaller that ranks divide among themselves from this ZeRO stage on."""
    learner = config.learner
    ways = ["more learner.ranks"]
    if learner.zero_stage < stage:
        ways = [f"learner.zero_stage={stage}{' with more learner.ranks' if learner.ranks == 1 else ''}"]
    if by_adapters and learner.lora is None:
        ways.append("learner.lora={}")
    return " or ".join(ways)


def _gradients(stage: int, item: int, trained: float, share: float, largest: int) -> tuple[float, float]:
    """Gradients in the backward pass with the bucket in which ranks exchange them, and a full bucket's exchange."""
    if stage == 0:
        return 4 * trained, 0.0
    bucket = min(REDUCE_ELEMENTS, trained)
    summed = 4 * (trained if stage == 1 else share)
    # What ranks exchange is a copy in float32, whatever the bucket is. A parameter larger than the bucket goes alone.
    return summed + (item if stage == 2 else 4) * bucket, 4 * min(trained, max(bucket, largest))


def _step(stage: int, trained: float, share: float) -> float:
    """Gradients, a flat copy of what is exchanged or stepped, and AdamW's two temporary tensors."""
    if stage == 0:
        # One after the other: the exchange of a bucket, and AdamW, which holds one more list as long as the gradients.
        return 8 * trained
    if stage < 3:
        return 12 * share
    return 12 * min(SUB_GROUP_ELEMENTS, share)


def _sync(item: int, model: Footprint) -> float:
    """Two buckets of weights on their way to the engines; there are no gradients then."""
    return float(2 * max(min(SYNC_BYTES, item * model.parameters), item * model.largest))


def _activations(
    config: TrainConfig, model: Footprint, tokens: int, packed: bool
) -> tuple[MemoryUse, MemoryUse]:
    item = ITEM[config.model.dtype]
    layer, other = model.layer_bytes * tokens, model.other_bytes * tokens
    if config.model.gradient_checkpointing:
        # One layer at a time is computed again; its gradients are as large as the largest of what it keeps.
        kept, again = model.layers * model.width * item * tokens + other, layer
    else:
        kept, again = model.layers * layer + other, 0.0
    logits = logits_bytes(config, model, packed)
    fewer = f"a smaller learner.tokens_per_micro_batch (at least {config.rollout.max_model_len})"
    if tokens == config.rollout.max_model_len:
        fewer = "a smaller rollout.max_model_len, and learner.tokens_per_micro_batch with it"
    more = fewer if config.model.gradient_checkpointing else f"model.gradient_checkpointing=true or {fewer}"
    # A layer is computed again only when the logits are gone.
    return MemoryUse("activations", kept + max(0.0, again - logits), more), MemoryUse("logits", logits, fewer)


def logits_bytes(config: TrainConfig, model: Footprint, packed: bool) -> float:
    """The peak of the output head: the plain form's four float32 copies, or blocks of the vocabulary."""
    tokens = config.learner.tokens_per_micro_batch
    item = ITEM[config.model.dtype]
    whole = 4.0 * tokens * model.vocabulary
    if not packed and whole <= PLAIN_BYTES:
        return 4.1 * whole
    kept = min(LogprobHead.kept_bytes, item * whole / 4)
    # Two float32 copies of a block, and the block itself where it is not among those that are kept.
    copies = 2 if kept == item * whole / 4 else 2 + item / 4
    blocks = copies * min(LogprobHead.block_bytes, whole)
    return kept + blocks + (8 + item) * tokens * model.width


def _adapters(config: TrainConfig, model: Footprint) -> float:
    """Parameters of LoRA's adapters, as if on every linear layer: 2 · rank · width for each, seven a layer."""
    assert config.learner.lora is not None
    wide = model.parameters / (model.layers * 7 * model.width)
    return model.layers * 7 * config.learner.lora.rank * (model.width + wide)


@dataclass(frozen=True, slots=True)
class EngineNeed:
    """An engine: its need, and how many completions of full length its key-value cache holds; None if not known."""

    need: Need
    full_length: float | None


def engine(config: TrainConfig, model: Footprint) -> EngineNeed:
    """What one GPU of an engine needs, or an engine's process on a CPU. A GPU's size is `run.gpu_memory_gib`."""
    rollout = config.rollout
    item = ITEM[config.model.dtype if rollout.dtype == "auto" else rollout.dtype]
    weights = MemoryUse("weights", item * model.parameters / rollout.workers, "more rollout.gpus")
    # GPUs share the heads, and have one at least.
    token = model.kv_values * item / min(rollout.workers, model.kv_heads)
    longest = token * BLOCK * math.ceil(rollout.max_model_len / BLOCK)
    if not rollout.gpus:
        cache = rollout.kv_cache_gib * GIB
        parts = (weights, MemoryUse("key-value cache", cache, "a smaller rollout.kv_cache_gib"))
        return EngineNeed(Need("rollout engine", "memory", parts), cache / longest)
    reserve = MemoryUse("graphs and activations", ENGINE_RESERVE_GIB * GIB)
    one = MemoryUse("key-value cache, one completion", longest, "a smaller rollout.max_model_len")
    need = Need("GPU of an engine", "GPU", (weights, reserve, one))
    if config.run.gpu_memory_gib is None:
        return EngineNeed(need, None)
    left = rollout.gpu_memory_utilization * config.run.gpu_memory_gib * GIB - weights.bytes - reserve.bytes
    return EngineNeed(need, max(0.0, left / longest))


def rank_0_node(config: TrainConfig, model: Footprint) -> Need:
    """The node of the learner's rank 0, beside its processes: new weights on their way to the engines.

    They are put into the object store there, which holds up to two and a half times the weights while they change. For
    a broadcast, rank 0 keeps memory for a copy of its own, from which the store gets them.
    """
    one = _published(config, model)
    parts = [MemoryUse("weights in the object store", 2.5 * one)]
    if config.learner.weight_sync == "broadcast":
        parts.append(MemoryUse("copy of a broadcast", one, "learner.weight_sync=object_store"))
    return Need("node of rank 0", "memory", tuple(parts))


def engine_node(config: TrainConfig, model: Footprint) -> Need:
    """A node with engines, beside their processes: the weights that it has fetched, the old ones until they are freed.

    A node fetches them once, whatever its number of engines. After a broadcast only engines that took no part load
    from the object store, and no older version is there.
    """
    versions = 1 if config.learner.weight_sync == "broadcast" else 2
    one = _published(config, model)
    return Need("node of an engine", "memory", (MemoryUse("weights in the object store", versions * one),))


def learner_nodes(config: TrainConfig, model: Footprint) -> Need:
    """All nodes of the learner together: a checkpoint lies in host memory until it is written."""
    one = _one_checkpoint(config, model) if config.run.checkpoint_every else 0.0
    return Need(
        "learner's nodes", "memory", (MemoryUse("a checkpoint being written", one, "run.checkpoint_every=0"),)
    )


def checkpoint(config: TrainConfig, model: Footprint) -> Need:
    """A checkpoint on disk: weights, and optimizer states of what is trained; `run.checkpoints_kept` and one more."""
    kept = config.run.checkpoints_kept + 1
    return Need(
        "checkpoints", "disk", (MemoryUse(f"{kept} checkpoints", kept * _one_checkpoint(config, model)),)
    )


def _one_checkpoint(config: TrainConfig, model: Footprint) -> float:
    trained = model.parameters if config.learner.lora is None else _adapters(config, model)
    master = config.model.dtype != "float32" or config.learner.zero_stage >= 1
    return _published(config, model) + (12 if master else 8) * trained


def _published(config: TrainConfig, model: Footprint) -> float:
    return float(ITEM[config.model.dtype] * model.parameters)


def too_large(config: TrainConfig, model: Footprint, packed: bool) -> str | None:
    """Why the run can't fit, with the arithmetic and keys to turn; None if it can.

    On a CPU: into an engine's cache. On GPUs: on those of `run.gpu_memory_gib`.
    """
    gib, rollout = config.run.gpu_memory_gib, config.rollout
    if not rollout.gpus and (fit := engine(config, model).full_length or 0.0) < 1:
        return (
            f"rollout.kv_cache_gib is {rollout.kv_cache_gib:g}, which holds {fit:.0%} of a completion of "
            f"rollout.max_model_len = {rollout.max_model_len} tokens. Raise rollout.kv_cache_gib to at "
            f"least {math.ceil(1000 * rollout.kv_cache_gib / fit) / 1000:g}, or lower rollout.max_model_len"
        )
    if gib is None:
        return None
    rank, of_engine = learner_rank(config, model, packed), engine(config, model).need
    if rank.where == "GPU" and rank.bytes > gib * GIB:
        most = max(rank.parts, key=lambda part: part.bytes)
        return f"{_sum(rank)}; run.gpu_memory_gib is {gib:g}. Most of it is {most.name}, smaller with {most.lower}"
    limit = gib * config.rollout.gpu_memory_utilization
    if of_engine.where == "GPU" and of_engine.bytes > limit * GIB:
        most = max(of_engine.parts, key=lambda part: part.bytes)
        return (
            f"{_sum(of_engine)}; rollout.gpu_memory_utilization x run.gpu_memory_gib = {limit:.1f}. "
            f"Most of it is {most.name}{f', smaller with {most.lower}' if most.lower else ''}; or raise "
            "rollout.gpu_memory_utilization"
        )
    return None


def _sum(need: Need) -> str:
    parts = " + ".join(f"{part.bytes / GIB:.1f} ({part.name})" for part in need.parts if part.bytes)
    return f"a {need.what} needs {need.bytes / GIB:.1f} GiB = {parts}"


def table(config: TrainConfig, model: Footprint, packed: bool) -> list[str]:
    """The whole plan as lines of a table, GiB."""
    of_engine = engine(config, model)
    needs = [learner_rank(config, model, packed), of_engine.need]
    needs += [rank_0_node(config, model), engine_node(config, model)]
    if config.run.checkpoint_every:
        needs += [learner_nodes(config, model), checkpoint(config, model)]
    lines = [f"memory plan, GiB ({model.parameters / 1e6:,.1f} M parameters, {config.model.dtype}):"]
    for need in needs:
        lines.append(f"  {need.what:<16} {need.where:<7}{need.bytes / GIB:9.2f}")
        lines += [f"    {part.name:<31}{part.bytes / GIB:7.2f}" for part in need.parts if len(need.parts) > 1]
    if (
        (gib := config.run.gpu_memory_gib)
        and config.learner.gpus
        and needs[0].bytes > (1 - SPARE) * gib * GIB
    ):
        lines.append(
            f"  warning: of its GPU's {gib:g} GiB a rank has less than a tenth left for CUDA, NCCL and fragmentation, "
            "which the plan does not count"
        )
    if of_engine.full_length is not None:
        fit = math.floor(of_engine.full_length)
        lines.append(
            f"  {fit} completions of full length ({config.rollout.max_model_len} tokens) fit an engine's cache"
        )
    return lines
