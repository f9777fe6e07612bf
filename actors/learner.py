"""Learner: one rank of the DeepSpeed group. It updates the policy, provides its weights and saves its state."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from actors import learner_checkpoint
from actors.lean_deepspeed import deepspeed, limit_collectives
from actors.learner_watch import RankTimeout, RankWatch
from actors.weights.format import Bucket, buckets_of
from bots.config.train import LearnerConfig, ModelConfig
from bots.learning.batching import MicroBatch, RankBatch
from bots.learning.forward import micro_batch_logprobs
from bots.learning.logprobs import install_head
from bots.learning.losses import Clip, LossBatch, make_loss, reference_kl
from bots.learning.memory_plan import REDUCE_ELEMENTS
from bots.learning.offpolicy import clipped_tokens, importance_weights, mismatch_sums
from bots.learning.policy import load_policy, packs, published


class NotFinite(FloatingPointError):
    """More consecutive steps had a non-finite loss or gradient than the configuration allows."""


class Learner:
    """The policy under training on this rank. Needs an initialised `torch.distributed` group.

    path: the starting model. temperature: that of the rollouts. watch: the `RankWatch` whose `run` runs this rank, so
    that a missing rank can be named with its node.
    """

    def __init__(
        self,
        path: str,
        model: ModelConfig,
        config: LearnerConfig,
        temperature: float,
        watch: RankWatch | None = None,
    ) -> None:
        self.config = config
        self._watch = watch or RankWatch(config.timeout_s)
        self.temperature = temperature
        self.loss = make_loss(config.loss, config.loss_options, config.updates_per_batch)
        self.clip = Clip(config.clip_low, config.clip_high)
        self.skipped_in_a_row = 0
        self.packed = packs(path, model, config)
        """Whether this rank's shards must be packed."""
        policy = load_policy(path, model, config.lora, self.packed)
        # With adapters, the policy without them is the reference; otherwise every rank keeps a whole copy.
        copied = config.kl_coefficient > 0 and config.lora is None
        reference = copy.deepcopy(policy).eval() if copied else None
        self._reference_head = install_head(reference) if reference is not None else None
        self._head = install_head(policy)
        limit_collectives(config.collective_timeout_s)
        trained = [p for p in policy.parameters() if p.requires_grad]
        self.engine, *_ = deepspeed.initialize(
            model=policy,
            model_parameters=trained,
            config=_deepspeed_settings(config, model.dtype, sum(p.numel() for p in trained)),
        )
        self.reference = reference.to(self.engine.device) if reference is not None else None
        self._trained = [p for p in self.engine.module.parameters() if p.requires_grad]
        # At stage 0 DeepSpeed adds up gradients in the parameters' own precision.
        self._widened = model.dtype == "bfloat16" and config.zero_stage == 0
        if self._widened:
            for parameter in self._trained:
                parameter.grad_dtype = torch.float32
        # Only gloo can tell which rank is missing.
        self._control = dist.new_group(backend="gloo")

    @property
    def rank(self) -> int:
        """This rank's number."""
        return dist.get_rank()

    def update(self, shard: RankBatch, step: int) -> dict[str, float]:
        """Take `updates_per_batch` optimizer steps on this rank's shard; all ranks call it together.

        step: counted from 1, for the learning rate's warm-up.
        Returns metrics of the whole batch, equal on all ranks: lr, loss, grad_norm, mismatch_kl (mean over the
        tokens, between the engine that sampled and the learner), truncated_share, clip_share, and
        skipped_updates. If the loss or gradient is not finite on any rank, all ranks skip that optimizer step and
        weights and optimizer stay unchanged; metrics that it would have provided are then missing.
        Raises NotFinite, on all ranks, if more than `max_skipped_steps` consecutive steps are skipped, and
        RankTimeout if a rank is missing.
        """
        self.meet(f"learning step {step}")
        lr = self._set_learning_rate(step)
        if not shard.micro_batches:
            names = ("loss", "grad_norm", "mismatch_kl", "truncated_share", "clip_share", "skipped_updates")
            return {"lr": lr} | dict.fromkeys(names, 0.0)
        # Filled by the first pass, before the first optimizer step: log-probabilities under the batch's initial policy.
        old: list[torch.Tensor | None] = [None] * len(shard.micro_batches)
        for _ in range(self.config.updates_per_batch):
            metrics = self._pass(shard, old)
            if metrics["skipped_updates"]:
                self._count_skip(step, lr, metrics)
                break
            self.skipped_in_a_row = 0
        return {"lr": lr} | metrics

    def _pass(self, shard: RankBatch, old: list[torch.Tensor | None]) -> dict[str, float]:
        self.engine.train()
        if self._widened:
            # DeepSpeed would fill in gradients that no token reached, in bfloat16.
            for parameter in self._trained:
                parameter.grad = torch.zeros_like(parameter, dtype=torch.float32)
        last = len(shard.micro_batches) - 1
        # Kept on the device until the end, so that a GPU need not wait for each micro-batch.
        sums = torch.zeros(6, dtype=torch.float64, device=self.engine.device)
        for i, micro_batch in enumerate(shard.micro_batches):
            self.engine.set_gradient_accumulation_boundary(i == last)
            old[i], part = self._backward(micro_batch, shard, old[i])
            sums += part
        sums = sums.cpu()
        dist.all_reduce(sums)
        loss, tokens, kl, truncated, clipped, broken = sums.tolist()
        norm = self._take_step()
        if broken or norm is None:
            return {"skipped_updates": 1.0, "broken_micro_batches": broken}
        return {
            "loss": loss,
            "grad_norm": norm,
            "mismatch_kl": kl / max(tokens, 1),
            "truncated_share": truncated / max(tokens, 1),
            "clip_share": clipped / max(tokens, 1),
            "skipped_updates": 0.0,
        }

    def _backward(
        self, batch: MicroBatch, shard: RankBatch, old: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Process one micro-batch; returns log π_old and the sums loss, tokens, kl, truncated, clipped, broken."""
        device, cap = self.engine.device, self.config.importance_cap
        mask = torch.from_numpy(batch.mask).to(device)
        sampler = torch.from_numpy(batch.sampler_logprobs).to(device)
        logprobs = self._logprobs(batch)
        if old is None:
            old = logprobs.detach()
        sampler = torch.where(mask > 0, sampler, old)
        given = LossBatch(
            old_logprobs=old,
            weights=importance_weights(old, sampler, cap),
            advantages=torch.from_numpy(batch.advantages).to(device),
            mask=mask,
            clip=self.clip,
            scale=shard.scale,
        )
        loss = self.loss(logprobs, given)
        if self.config.kl_coefficient > 0:
            kl = (reference_kl(logprobs, self._reference_logprobs(batch)) * mask).sum()
            loss = loss + self.config.kl_coefficient * kl / shard.scale.tokens
        finite = torch.isfinite(loss.detach())
        # DeepSpeed averages the ranks' gradients, but the shards' losses are parts of a sum. A non-finite loss can
        # have a finite gradient. Made NaN, the gradient reaches all ranks, and none takes the step.
        self.engine.backward(loss * torch.where(finite, float(dist.get_world_size()), math.nan))
        with torch.no_grad():
            sums = mismatch_sums(old, sampler, mask, cap)
            ratio = self.loss.ratio(logprobs.detach(), given)
            parts = [loss.detach(), *sums.values(), clipped_tokens(ratio, given), ~finite]
        return old, torch.stack([part.double() for part in parts])

    def _take_step(self) -> float | None:
        """Take the optimizer step; returns the gradient norm, or None if it is not finite and nothing changed."""
        if self.engine.zero_optimization() or self.engine.bfloat16_enabled():
            # DeepSpeed's own optimizers check the norm on all ranks and clear the gradients of a skipped step.
            self.engine.step()
            skipped = bool(self.engine.optimizer.overflow)
            return None if skipped else float(self.engine.get_global_grad_norm())
        # At stage 0 every rank holds the whole gradient, and DeepSpeed neither checks nor keeps its norm.
        gradients = [p.grad for p in self.engine.module.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not math.isfinite(norm):
            self.engine.zero_grad()
            return None
        self.engine.step()
        return norm

    def _count_skip(self, step: int, lr: float, metrics: dict[str, float]) -> None:
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row > self.config.max_skipped_steps:
            config = self.config
            raise NotFinite(
                f"step {step}: the {'loss' if metrics['broken_micro_batches'] else 'gradient'} is not finite, in "
                f"{self.skipped_in_a_row} consecutive steps (learner.max_skipped_steps = "
                f"{config.max_skipped_steps}); the weights are those of the last good step. Lower learner.lr "
                f"(it is {lr:g}), learner.grad_clip ({config.grad_clip:g}), learner.importance_cap "
                f"({config.importance_cap:g}) or learner.kl_coefficient ({config.kl_coefficient:g})"
            )

    def _logprobs(self, batch: MicroBatch) -> torch.Tensor:
        return micro_batch_logprobs(self.engine, self._head, batch, self.temperature, self.engine.device)

    @torch.no_grad()
    def _reference_logprobs(self, batch: MicroBatch) -> torch.Tensor:
        if self.reference is None:
            with self.engine.module.disable_adapter():
                return self._logprobs(batch)
        device, head = self.engine.device, self._reference_head
        return micro_batch_logprobs(self.reference, head, batch, self.temperature, device)

    def _set_learning_rate(self, step: int) -> float:
        warmup = self.config.warmup_steps
        lr = self.config.lr * min(1.0, step / warmup if warmup else 1.0)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def meet(self, phase: str) -> None:
        """Wait until every rank is here. Raises RankTimeout, which names the missing ranks and the phase."""
        self._watch.arrive(phase)
        try:
            limit = timedelta(seconds=self.config.timeout_s)
            dist.monitored_barrier(self._control, limit, wait_all_ranks=True)
        except RuntimeError as error:
            raise RankTimeout(
                f"{phase}: learner ranks did not come together within learner.timeout_s = "
                f"{self.config.timeout_s:g} s: {self._watch.late() or error}"
            ) from error

    def weight_buckets(
        self, bucket_bytes: int = 64 * 2**20, device: str | torch.device = "cpu", copy: bool = True
    ) -> Iterator[Bucket]:
        """The policy's parameters in checkpoint names and shapes, bucket by bucket, with LoRA adapters merged.

        All ranks iterate together. Rank 0 gets copies of the tensors on `device`, the others empty buckets. copy:
        False: whole parameters that are on `device` anyway are not copied.
        Under ZeRO-3 only one bucket is whole at a time, never the whole model.
        Raises RankTimeout if a rank is missing.
        """
        self.meet("gathering weights")
        parts = {part.name: part for part in published(self.engine.module)}
        sharded = self.config.zero_stage == 3
        copies = copy or sharded  # a gathered parameter is whole here only for a moment
        for bucket in buckets_of([(name, part.weight) for name, part in parts.items()], bucket_bytes):
            needed = [p for name, _ in bucket for p in parts[name].parameters]
            if sharded:
                self.meet("gathering weights")
            with deepspeed.zero.GatheredParameters(needed) if sharded else contextlib.nullcontext():
                found = (
                    [(name, parts[name].tensor(device, copies)) for name, _ in bucket]
                    if self.rank == 0
                    else []
                )
            yield found

    def snapshot(self, folder: Path) -> learner_checkpoint.Snapshot:
        """This rank's part of the model and optimizer, to be written into a folder; all ranks call it together.

        Later steps leave it as it is. Raises RankTimeout if a rank is missing.
        """
        self.meet("writing a checkpoint")
        return learner_checkpoint.snapshot(self.engine, folder, {"skipped_in_a_row": self.skipped_in_a_row})

    def load(self, folder: Path) -> None:
        """Restore exactly what a snapshot wrote; the number of ranks may differ."""
        self.skipped_in_a_row = learner_checkpoint.load(self.engine, folder)["skipped_in_a_row"]


def _deepspeed_settings(config: LearnerConfig, dtype: str, trained: int) -> dict[str, object]:
    half = dtype == "bfloat16"
    return {
        # Batches are cut by token budget; DeepSpeed is told where accumulation ends.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": config.lr,
                "betas": list(config.betas),
                "weight_decay": config.weight_decay,
                # torch's AdamW: DeepSpeed's own would be compiled first, for 31 s.
                "torch_adam": True,
            },
        },
        "zero_optimization": {
            "stage": config.zero_stage,
            # A GPU gets the whole bucket at once, also where adapters would fill a hundredth of it.
            "reduce_bucket_size": min(REDUCE_ELEMENTS, trained),
        },
        "zero_allow_untested_optimizer": True,
        "gradient_clipping": config.grad_clip,
        "bf16": {"enabled": half},
        # Ranks sum the gradients they exchange; in bfloat16, a sum of many terms would lose small ones.
        **({"communication_data_type": "fp32"} if half else {}),
        # Small gradients summed over many micro-batches in bfloat16 would vanish. At stage 0 the learner sees to it.
        "data_types": {"grad_accum_dtype": "fp32" if half and config.zero_stage else None},
        "steps_per_print": 2**31,
    }
