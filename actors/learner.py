"""Learner: one rank of the DeepSpeed group. It updates the policy, hands out its weights, saves itself."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from pathlib import Path

import deepspeed
import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM

from actors.weight_format import Bucket, buckets_of
from bots.config import LearnerConfig, ModelConfig
from bots.learning.batching import MicroBatch, Shard
from bots.learning.losses import LOSSES, Clip, LossScale, importance_weights, reference_kl, token_logprobs

# DeepSpeed would build a shared-memory collective with a C++ compiler, 20 s and 69 MB a rank; gloo serves.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
logging.getLogger("DeepSpeed").setLevel(logging.WARNING)


class Learner:
    """The policy under training on this rank. Needs an initialised `torch.distributed` group.

    path: the starting model. temperature: that of the rollouts.
    """

    def __init__(self, path: str, model: ModelConfig, config: LearnerConfig, temperature: float) -> None:
        self.config = config
        self.temperature = temperature
        self.loss = LOSSES[config.loss]
        self.clip = Clip(config.clip_low, config.clip_high)
        module = AutoModelForCausalLM.from_pretrained(
            path, dtype=getattr(torch, model.dtype), attn_implementation=model.attention
        )
        if model.gradient_checkpointing:
            module.gradient_checkpointing_enable()
        reference = copy.deepcopy(module).eval() if config.kl_coefficient > 0 else None
        self.engine, *_ = deepspeed.initialize(
            model=module,
            model_parameters=list(module.parameters()),
            config=_deepspeed_settings(config, model.dtype),
        )
        self.reference = reference.to(self.engine.device) if reference is not None else None

    @property
    def rank(self) -> int:
        """This rank's number."""
        return dist.get_rank()

    def update(self, shard: Shard, step: int) -> dict[str, float]:
        """Take one optimizer step on this rank's shard; all ranks call it together.

        step: counted from 1, for the learning rate's warm-up.
        Returns figures of the whole batch, equal on all ranks: loss, gradient norm, mean KL between the
        engine that sampled and the learner (k3 estimate), and the share of truncated importance weights.
        Raises FloatingPointError for a loss that is not finite, before the weights are touched.
        """
        totals = torch.zeros(5, dtype=torch.float64)
        lr = self._set_learning_rate(step)
        if not shard.micro_batches:
            return {"loss": 0.0, "grad_norm": 0.0, "lr": lr, "mismatch_kl": 0.0, "truncated_share": 0.0}
        self.engine.train()
        last = len(shard.micro_batches) - 1
        for i, micro_batch in enumerate(shard.micro_batches):
            self.engine.set_gradient_accumulation_boundary(i == last)
            totals += self._backward(micro_batch, shard.scale)
        dist.all_reduce(totals)
        loss, kl, truncated, tokens, broken = totals.tolist()
        if broken:
            raise FloatingPointError(
                f"the loss of step {step} is not finite on {int(broken)} micro-batches (lr {lr:g}); "
                "lower learner.lr or learner.grad_clip"
            )
        norm = self._replicated_grad_norm() if self.config.zero_stage == 0 else None
        self.engine.step()
        return {
            "loss": loss,
            "grad_norm": norm if norm is not None else float(self.engine.get_global_grad_norm()),
            "lr": lr,
            "mismatch_kl": kl / max(tokens, 1),
            "truncated_share": truncated / max(tokens, 1),
        }

    def _backward(self, batch: MicroBatch, scale: LossScale) -> torch.Tensor:
        device = self.engine.device
        token_ids = torch.from_numpy(batch.token_ids).to(device)
        mask = torch.from_numpy(batch.mask).to(device)
        sampler = torch.from_numpy(batch.sampler_logprobs).to(device)
        advantages = torch.from_numpy(batch.advantages).to(device)
        logprobs = self._logprobs(self.engine, token_ids)
        # One optimizer step a batch: the old policy is the present one, and the ratio carries the gradient.
        old = logprobs.detach()
        weights = importance_weights(old, torch.where(mask > 0, sampler, old), self.config.importance_cap)
        loss = self.loss(logprobs, old, advantages, weights, mask, self.clip, scale)
        if self.reference is not None:
            with torch.no_grad():
                reference = self._logprobs(self.reference, token_ids)
            kl = (reference_kl(logprobs, reference) * mask).sum() / scale.tokens
            loss = loss + self.config.kl_coefficient * kl
        # DeepSpeed averages the ranks' gradients; the shards' losses are parts of a sum.
        self.engine.backward(loss * dist.get_world_size())
        log_ratio = (old - sampler) * mask
        mismatch = ((torch.exp(log_ratio) - log_ratio - 1) * mask).sum()
        truncated = ((torch.exp(log_ratio) > self.config.importance_cap) * mask).sum()
        finite = torch.isfinite(loss.detach())
        parts = [loss.detach(), mismatch, truncated, mask.sum(), (~finite).float()]
        return torch.stack([part.double().cpu() for part in parts])

    def _logprobs(self, model: torch.nn.Module, token_ids: torch.Tensor) -> torch.Tensor:
        # Padded on the right under a causal mask, no answer token ever sees padding: no mask is needed.
        logits = model(input_ids=token_ids, use_cache=False).logits
        return token_logprobs(logits[:, :-1], token_ids[:, 1:], self.temperature)

    def _replicated_grad_norm(self) -> float:
        # DeepSpeed keeps no norm at stage 0; every rank holds the whole gradient there.
        gradients = [p.grad for p in self.engine.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _set_learning_rate(self, step: int) -> float:
        warmup = self.config.warmup_steps
        lr = self.config.lr * min(1.0, step / warmup if warmup else 1.0)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def weight_buckets(self, bucket_bytes: int = 64 * 2**20) -> Iterator[Bucket]:
        """The policy's parameters in checkpoint names and shapes, bucket by bucket.

        All ranks iterate together; rank 0 gets the tensors (on the CPU), the others empty buckets. Under
        ZeRO-3 only one bucket is whole at a time, never the whole model.
        """
        parameters = list(self.engine.module.named_parameters())
        sharded = self.config.zero_stage == 3
        for bucket in buckets_of(parameters, bucket_bytes):
            with deepspeed.zero.GatheredParameters([p for _, p in bucket], enabled=sharded):
                yield [(n, p.detach().cpu().clone()) for n, p in bucket] if self.rank == 0 else []

    def save(self, folder: Path) -> None:
        """Write this rank's part of the model and optimizer; all ranks call it together."""
        self.engine.save_checkpoint(str(folder), tag="learner")

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote, exactly; the number of ranks must be the same."""
        path, _ = self.engine.load_checkpoint(str(folder), tag="learner")
        if path is None:
            raise FileNotFoundError(f"no learner state in checkpoint {folder}")


def _deepspeed_settings(config: LearnerConfig, dtype: str) -> dict[str, object]:
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
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "gradient_clipping": config.grad_clip,
        "bf16": {"enabled": dtype == "bfloat16"},
        "steps_per_print": 2**31,
    }
