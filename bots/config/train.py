"""The one configuration tree of a train job: seven sections, every key typed, explained and checked.

A job is a YAML file plus dotted overrides (`selection.lam=0.2`). Unknown keys, impossible values and
impossible combinations are refused here, before Ray starts, with the key's path, the value and what is
allowed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, field_validator, model_validator

from bots.config.tree import (
    Amount,
    Count,
    FolderName,
    Positive,
    Section,
    Share,
    UserPath,
    UserPathText,
    parse_config,
    plug_in,
    read_tree,
)
from bots.selection.presets import Preset, preset_of
from bots.settings import HISTORY, own_adaptor, resolve
from bots.sources.config import PoolConfig

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


class DynamicConfig(Section):
    """Dynamic sampling (DAPO, arXiv 2503.14476): groups without signal are left out of a batch and made up for."""

    oversample: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.5
    """First request, as a multiple of `selection.tasks`."""
    least_deviation: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """A group is trained on if its rewards' standard deviation is greater."""
    rounds: Count = 4
    """After so many requests the batch goes out as it is."""


class SelectionConfig(Section):
    """Which tasks come next. Symbols as in the BOTS paper (arXiv 2510.26374); see `bots.BOTS`.

    λ, ρ, the evidence and the adaptor default to what the selector is defined by, and are written out when resolved.
    """

    selector: str = "bots"
    """A name listed in `bots.support.registry` (bots is the paper's), or `module:Class`."""
    selector_options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the selector's class."""
    tasks: Count = 32
    """B: tasks selected a step."""
    p_star: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """p*: the success probability that selection aims at."""
    lam: Share = 0.1
    """λ, forgetting: 0 never forgets, 1 keeps only the prior and the newest evidence."""
    rho: Share = 0.1
    """ρ: share of the evidence that is implicit; 0 explicit only, 1 implicit only."""
    evidence: str = "auto"
    """Implicit evidence: a name listed in `bots.support.registry`, or `module:Class`. auto:
    interpolation for tasks whose reference pass rates are known; for others the means of their domain and level, if
    the pool has levels, and none else."""
    evidence_options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the evidence plug-in, for example `gamma: 0.9`."""
    forgetting: Literal["step", "observation"] = "step"
    """Whether λ counts at every step, as in the paper, or at a task's own observations (MoPPS's retention)."""
    prior: tuple[Positive, Positive] | Literal["anchors"] = (1.0, 1.0)
    """α0, β0: pseudo-counts of the prior; `anchors` takes them from the reference pass rates."""
    adaptor: str | None = None
    """Self-tuning of λ, ρ and on request p*: predictive, or `module:Class`; none keeps them. Left out: predictive for
    selector bots where neither `lam` nor `rho` is set, else none."""
    adaptor_options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the adaptor's class."""
    belief: str = "beta"
    """What is believed of a task's pass rate: beta, the paper's update with λ, ρ and evidence; state_space, a filter
    that follows how training moves cells of tasks, with options instead; or `module:Class`."""
    belief_options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the belief's class, for example `features: [length]`; beta has none."""
    domain_shares: dict[str, float] | Literal["weights"] | None = None
    """Share of every batch for each domain; `weights`: by the sources' weights and sizes; none: no quotas."""
    cooldown: Annotated[int, Field(ge=0)] | None = None
    """Steps for which a selected task is not selected again, or fewer where more than half of the pool, or of a domain
    with a share of its own, would rest. 0: off; none: 15 with an adaptor, else 0."""
    retire_above: Annotated[float, Field(gt=0, le=1)] | None = None
    """Tasks believed this easy rest for `recheck` steps; none: off."""
    recheck: Count = 50
    """How long a retired task rests."""
    dynamic: DynamicConfig | None = None
    """Leave groups whose rewards are all alike out of the batch and select others; with any selector. `{}` for
    the defaults; none: off. Needs `rollout.max_staleness: 0`."""

    @model_validator(mode="wrap")
    @classmethod
    def _fill_in_preset(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, dict):
            return validate(given)
        preset = preset_of(given.get("selector", "bots"), given.get("forgetting", "step"))
        if given.get("belief", "beta") != "beta":
            preset = Preset(lam=0.0, rho=0.0, evidence="none")
        own = {"lam": preset.lam, "rho": preset.rho, "evidence": preset.evidence}
        if given.get("adaptor", "default") == "default":
            given = {key: value for key, value in given.items() if key != "adaptor"}
            own["adaptor"] = own_adaptor(preset, given)
        filled = validate(own | given)
        # What another selector would fill in otherwise is not set: arms of a simulation are laid over what is.
        filled.__pydantic_fields_set__ = set(given)
        return filled

    @model_validator(mode="after")
    def _possible_together(self) -> SelectionConfig:
        resolve(rollouts=1, seed=0, history=HISTORY, threads=None, **self._of_bots())
        return self

    def settings(self, rollouts: int, seed: int) -> dict[str, Any]:
        """The keyword arguments of `bots.BOTS`."""
        return {**self._of_bots(), "prior": self.prior, "rollouts": rollouts, "seed": seed}

    def _of_bots(self) -> dict[str, Any]:
        return self.model_dump(exclude={"tasks", "prior", "dynamic"})


class RolloutConfig(Section):
    """The vLLM engines that answer the tasks."""

    engines: Count = 1
    """Number of engines wanted, one actor each."""
    min_engines: Count | None = None
    """Engines that must fit for the run to start; the others join when their nodes come. None: all of them."""
    max_staleness: Annotated[int, Field(ge=0, le=64)] = 0
    """k: generation runs ahead of training by at most k policy versions; 0 is strictly on-policy."""
    samples: Annotated[int, Field(ge=2)] = 16
    """n: answers drawn for each selected task; a group's advantages need at least two."""
    temperature: Positive = 1.0
    """Sampling temperature of the training rollouts."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling; 1 keeps the policy's own distribution, which the loss assumes."""
    max_tokens: Count = 1024
    """Longest answer, in tokens."""
    max_model_len: Count = 2048
    """Longest prompt and answer together, in tokens."""
    max_num_seqs: Count = 256
    """Answers that one engine generates at the same time."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto"
    """Precision of the engine."""
    cpus: Amount = 1.0
    """CPUs that one engine asks of Ray (0.5 lets it share a core with a learner rank)."""
    gpus: Amount = 0.0
    """GPUs of one engine; more than one, a whole number, means tensor parallelism; less than one shares a GPU."""
    resources: dict[str, Positive] = Field(default_factory=dict)
    """Other Ray resources of one engine, for example {rollout: 1}: it then runs on nodes that offer them."""
    threads: Count = 1
    """CPU threads of one engine."""
    kv_cache_gib: Positive = 0.25
    """Memory of the key-value cache on a CPU, GiB."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, lt=1)] = 0.85
    """Share of a GPU's memory for an engine."""
    enforce_eager: bool = True
    """No compilation or CUDA graphs. False gains speed on a GPU after a longer start."""
    seeded: bool = True
    """Seed every request from (run seed, step, task): answers do not depend on batching or placement."""
    timeout_s: Positive = 600.0
    """An engine that stands still for so long is restarted; a run without any engine for so long ends."""
    start_timeout_s: Positive | None = None
    """An engine that takes longer to start is restarted, and may take twice as long the next time; None: `timeout_s`.
    Loading a large model from a shared folder, compilation and CUDA graphs take minutes."""

    @model_validator(mode="after")
    def _fewer_to_start(self) -> RolloutConfig:
        if self.min_engines is not None and self.min_engines > self.engines:
            raise ValueError(
                f"rollout.min_engines is {self.min_engines}, more than rollout.engines = {self.engines}"
            )
        return self

    @model_validator(mode="after")
    def _gpus_that_vllm_can_use(self) -> RolloutConfig:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"rollout.gpus is {self.gpus}; above 1 it must be a whole number")
        if 0 < self.gpus < 1 and self.gpu_memory_utilization > self.gpus:
            raise ValueError(
                f"rollout.gpus is {self.gpus}, and rollout.gpu_memory_utilization {self.gpu_memory_utilization}: "
                f"engines that share a GPU would not fit on it; lower gpu_memory_utilization to at most {self.gpus}"
            )
        return self

    @property
    def starting_s(self) -> tuple[float, str]:
        """How long an engine may take to start, and the key that says so."""
        if self.start_timeout_s is None:
            return self.timeout_s, "rollout.timeout_s"
        return self.start_timeout_s, "rollout.start_timeout_s"

    @property
    def engines_to_start(self) -> int:
        """Engines that must fit for the run to start."""
        return self.engines if self.min_engines is None else self.min_engines


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
    """Workers of the group."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """ZeRO: 0 replicates all; 1 shards the optimizer; 2 also the gradients; 3 also the parameters. In bfloat16 take
    1 or more: 0 adds up gradients in bfloat16."""
    loss: Annotated[str, plug_in("loss")] = "grpo"
    """Policy loss: a name listed in `bots.support.registry`, or `module:function`."""
    loss_options: dict[str, Any] = Field(default_factory=dict)
    """Further keyword arguments of the loss."""
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
    resources: dict[str, Positive] = Field(default_factory=dict)
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


class GradingConfig(Section):
    """The processes that score answers."""

    actors: Count = 1
    """Grader actors."""
    workers: Count = 1
    """Killable worker processes of one actor."""
    timeout_s: Positive = 40.0
    """Longest time for one grade; code needs longer than all its tests together."""
    memory_gib: Positive = 2.0
    """Largest memory of one grade, GiB."""
    unsafe_code_without_sandbox: bool = False
    """Run model-written programs without a sandbox where none is installed. They can then do anything."""


class EvaluationConfig(Section):
    """The held-out score."""

    pool: PoolConfig | None = None
    """Tasks to evaluate on; none: no evaluation, and no score."""
    every: Count = 10
    """Steps between two evaluations; the first is before step 1, the last after the last step."""
    samples: Count = 1
    """Answers drawn for each evaluation task."""
    temperature: Amount = 1.0
    """0 decodes greedily; `samples` must then be 1."""

    @model_validator(mode="after")
    def _greedy_answers_once(self) -> EvaluationConfig:
        if self.temperature == 0 and self.samples > 1:
            raise ValueError(
                f"evaluation.temperature is 0, where every answer to a task is the same, but evaluation.samples is "
                f"{self.samples}; set samples to 1, or a temperature above 0"
            )
        return self


class RunConfig(Section):
    """The run itself."""

    name: FolderName
    """Name of the run; its results are in `folder/name`."""
    folder: UserPath = Path("runs")
    """Where runs are kept: a folder that the head and all learners mount, not an address such as s3://…"""
    steps: Count
    """Optimizer steps."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seeds selection, sampling and initialisation."""
    keep_rollouts: bool = True
    """Write every answer with its reward, policy version and checksum to `rollouts/STEP.parquet`."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 50
    """Steps between checkpoints; 0 keeps none, and the run cannot be resumed."""
    trackers: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Where figures go besides the run's folder, TensorBoard and Prometheus; needs `bots-rft[trackers]`."""
    gpu_memory_gib: Positive | None = None
    """Memory of one GPU, GiB: a run whose memory plan exceeds it is refused before anything starts. None: unchecked."""
    wait_for_nodes_s: Annotated[float, Field(ge=0)] = 0.0
    """How long an autoscaler may take to bring the nodes that the plan needs; 0 refuses at once."""
    checkpoints_kept: Count = 2
    """How many checkpoints stay on disk; the newest is always one of them."""
    export: bool = True
    """Write the trained policy to `model/` at the end, for transformers and vLLM to load (LoRA merged)."""
    keep_best: bool = False
    """Which: those with the best evaluation score so far, instead of the newest."""

    @field_validator("folder", mode="before")
    @classmethod
    def _is_no_address(cls, given: Any) -> Any:
        if isinstance(given, str) and "://" in given:
            raise ValueError("is an address; a run needs a mounted folder, see docs/cluster.md on storage")
        return given

    @property
    def path(self) -> Path:
        """The run's folder, absolute."""
        return (self.folder / self.name).absolute()


class TrainConfig(Section):
    """A whole train job."""

    run: RunConfig
    model: ModelConfig
    pool: PoolConfig
    selection: SelectionConfig = SelectionConfig()
    rollout: RolloutConfig = RolloutConfig()
    grading: GradingConfig = GradingConfig()
    learner: LearnerConfig = LearnerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _possible_together(self) -> TrainConfig:
        rollout, learner = self.rollout, self.learner
        if rollout.max_tokens >= rollout.max_model_len:
            raise ValueError(
                f"rollout.max_tokens is {rollout.max_tokens} and rollout.max_model_len {rollout.max_model_len}: "
                "no room is left for a prompt; raise max_model_len or lower max_tokens"
            )
        if learner.tokens_per_micro_batch < rollout.max_model_len:
            raise ValueError(
                f"learner.tokens_per_micro_batch is {learner.tokens_per_micro_batch}, less than one sample of "
                f"rollout.max_model_len = {rollout.max_model_len} tokens; raise it to at least that"
            )
        if self.selection.tasks * rollout.samples < learner.ranks:
            raise ValueError(
                f"selection.tasks x rollout.samples = {self.selection.tasks * rollout.samples} samples a step "
                f"cannot be shared by learner.ranks = {learner.ranks}; lower learner.ranks"
            )
        if self.selection.dynamic and rollout.max_staleness:
            raise ValueError(
                f"selection.dynamic fills up the batch of one policy version, but rollout.max_staleness is "
                f"{rollout.max_staleness}; set it to 0, or leave selection.dynamic out"
            )
        if learner.loss == "rloo" and learner.updates_per_batch > 1:
            raise ValueError(
                f"learner.updates_per_batch is {learner.updates_per_batch}, but learner.loss rloo has no trust region "
                "and takes one; choose another loss or 1"
            )
        if self.run.keep_best and self.evaluation.pool is None:
            raise ValueError("run.keep_best is true, but there is no evaluation.pool to give a score")
        if learner.weight_sync == "broadcast":
            if (learner.gpus > 0) != (rollout.gpus > 0):
                raise ValueError(
                    f"learner.weight_sync is broadcast, but learner.gpus is {learner.gpus:g} and rollout.gpus "
                    f"{rollout.gpus:g}: both sides must be on GPUs, or neither; object_store needs no such thing"
                )
            if rollout.gpus > 1:
                raise ValueError(
                    f"learner.weight_sync is broadcast, which reaches engines of one GPU; rollout.gpus is "
                    f"{rollout.gpus:g}; use object_store"
                )
        if rollout.top_p < 1:
            raise ValueError(
                f"rollout.top_p is {rollout.top_p:g}: tokens would be drawn from another distribution than the one the "
                "learner computes, and its importance weights would be wrong; set it to 1 "
                "(evaluation.temperature makes evaluation narrower)"
            )
        if 0 < learner.gpus != 1:
            raise ValueError(f"learner.gpus is {learner.gpus}; a rank uses 0 or 1 GPU, more by learner.ranks")
        if learner.gpus == 0 and self.model.attention == "flash_attention_2":
            raise ValueError("model.attention is flash_attention_2, which needs learner.gpus = 1")
        return self


def load_config(path: str | Path, overrides: list[str] | None = None) -> TrainConfig:
    """Read a YAML file, lay `section.key=value` overrides over it and check the whole.

    Raises ConfigError with one line for each fault.
    """
    return parse_config(TrainConfig, read_tree(path, overrides or []), str(path))
