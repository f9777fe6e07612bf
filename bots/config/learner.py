"""Sections `model` and `learner`: the policy, and how it learns."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from bots.config.tree import (
    Amount,
    Count,
    Positive,
    Resources,
    Section,
    Share,
    UserPathText,
    plug_in,
)

Decay = Annotated[float, Field(ge=0, lt=1)]


class ModelConfig(Section):
    """The policy that is trained."""

    path: UserPathText
    """Folder or hub name of a Hugging Face causal language model with its tokenizer. `lab:base` is shipped."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the learner's forward pass; bfloat16 on GPUs."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Attention implementation of the learner."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory for about a third more time."""


class LoraConfig(Section):
    """Low-rank adapters (LoRA, arXiv 2106.09685): only they are trained; engines get the merged weights."""

    rank: Count = 16
    """Rank of the factors A and B."""
    alpha: Positive = 32.0
    """The adapter counts alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout before A. Engines sample without it, so any makes the learner differ from the sampler."""
    targets: tuple[str, ...] = ()
    """Names of the adapted linear layers, for example [q_proj, v_proj]; empty: all but the output head."""


class LearnerConfig(Section):
    """The DeepSpeed group that learns."""

    ranks: Count = 1
    """Learner ranks: processes that train together."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """ZeRO: 0 replicates all; 1 shards the optimizer; 2 also the gradients; 3 also the parameters."""
    loss: Annotated[str, plug_in("loss")] = "grpo"
    """Policy loss: a name listed in `bots.support.registry`, or `module:function`."""
    loss_options: dict[str, Any] = Field(default_factory=dict)
    """Further keyword arguments of the loss."""
    group_weights: Literal["task", "completion"] = "task"
    """How groups of different sizes (`selection.allocation`) count in the loss: each task alike, or by completions."""
    mask_truncated: bool = False
    """Leave completions that reached `rollout.max_tokens` out of the loss; their rewards count in their groups."""
    lr: Positive = 1e-6
    """AdamW's learning rate."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """AdamW's decay of the gradient's first and second moment."""
    weight_decay: Amount = 0.0
    """AdamW's weight decay."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly to `lr`."""
    grad_clip: Amount = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    clip_low: Share = 0.2
    """ε: the policy ratio is clipped from below at 1 - ε."""
    clip_high: Positive = 0.2
    """The ratio is clipped from above at 1 + this (DAPO's clip-higher: 0.28)."""
    importance_cap: Positive = 2.0
    """Truncation of the importance weight between the learner's and vLLM's own log-probabilities."""
    updates_per_batch: Count = 1
    """Optimizer steps on one batch (GRPO's μ); the ratio is to the policy at the batch's start."""
    max_skipped_steps: Annotated[int, Field(ge=0)] = 5
    """Steps in a row that may be skipped because the loss or its gradient is not finite; one more stops the run."""
    lora: LoraConfig | None = None
    """Train low-rank adapters only; none trains every parameter. `learner.lora={}` takes the defaults."""
    kl_coefficient: Amount = 0.0
    """Weight of the KL divergence to the starting model; 0 keeps no reference model."""
    tokens_per_micro_batch: Count = 16384
    """Tokens of prompts and completions that one rank takes through the model at a time; padding, if any, counts."""
    packing: bool | None = None
    """Samples of a micro-batch lie end to end, without padding. None: on GPUs, where the model's layers allow it."""
    cpus: Amount = 1.0
    """CPUs that one rank asks of Ray."""
    gpus: Amount = 0.0
    """GPUs of one rank, 0 or 1."""
    resources: Resources = Field(default_factory=dict)
    """Other Ray resources of one rank, for example {learner: 1}: it then runs on nodes that offer them."""
    threads: Count = 1
    """CPU threads of one rank."""
    timeout_s: Positive = 300.0
    """Longest silence of a rank, and longest wait for one and for the weight broker; the group then restarts from
    the last checkpoint, and the message names who was waited for."""
    collective_timeout_s: Positive = 900.0
    """Longest that ranks may wait for each other in one collective operation, also where all live: a GPU that hangs
    ends the group after this, and it restarts from the last checkpoint."""
    weight_sync: Annotated[str, plug_in("weight_sync")] = "object_store"
    """How engines get new weights. broadcast: NCCL from GPU to GPU (gloo between CPUs) to all that are up."""
    weight_sync_options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the weight sync's class."""
    max_failures: Annotated[int, Field(ge=-1)] = 3
    """How often Ray Train restarts the group from the last checkpoint; -1 without end."""
