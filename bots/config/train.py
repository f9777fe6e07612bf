"""The one configuration tree of a train job: eight sections, every key typed, explained and checked.

A job is a YAML file plus dotted overrides (`selection.lam=0.2`). Unknown keys, impossible values and
impossible combinations are refused here, before Ray starts, with the key's path, the value and what is
allowed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from bots.config.grading import GradingConfig, JudgeConfig
from bots.config.learner import LearnerConfig, LoraConfig, ModelConfig
from bots.config.pool import PoolConfig
from bots.config.selection import DynamicConfig, SelectionConfig
from bots.config.tree import (
    Amount,
    Count,
    FolderName,
    Positive,
    Resources,
    Section,
    UserPath,
    parse_config,
    read_tree,
)
from bots.pool import TaskPool

__all__ = [
    "DynamicConfig",
    "EvaluationConfig",
    "GradingConfig",
    "JudgeConfig",
    "LearnerConfig",
    "LoraConfig",
    "ModelConfig",
    "PoolConfig",
    "RolloutConfig",
    "RunConfig",
    "SelectionConfig",
    "TrainConfig",
    "load_config",
]


class RolloutConfig(Section):
    """The vLLM engines that generate completions."""

    engines: Count = 1
    """Number of engines wanted, one actor each."""
    min_engines: Count | None = None
    """Engines that must fit for the run to start; the others join when their nodes come. None: all of them."""
    max_staleness: Annotated[int, Field(ge=0, le=64)] = 0
    """k: generation runs ahead of training by at most k policy versions; 0 is strictly on-policy."""
    keep_kv_cache: bool = False
    """Under new weights, completions in progress keep the keys and values that the old ones computed. False: computed
    again, so that every token comes from exactly one policy."""
    samples: Annotated[int, Field(ge=2)] = 16
    """n: completions per selected task; a group's advantages need at least two."""
    temperature: Annotated[float, Field(ge=0.01, allow_inf_nan=False)] = 1.0
    """Sampling temperature of the training rollouts, at least vLLM's lowest (it raises others to .01)."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling; 1 keeps the policy's own distribution, which the loss assumes."""
    max_tokens: Count = 1024
    """Longest completion, in tokens."""
    max_model_len: Count = 2048
    """Longest prompt with its completion, in tokens."""
    max_num_seqs: Count = 256
    """Completions that one engine generates at a time."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto"
    """Precision of the engine; auto: the model's. Take the learner's (`model.dtype`), or the two drift apart."""
    cpus: Amount = 1.0
    """CPUs that one engine asks of Ray (0.5 lets it share a core with a learner rank)."""
    gpus: Amount = 0.0
    """GPUs of one engine; more than one, a whole number, means tensor parallelism; less than one shares a GPU."""
    resources: Resources = Field(default_factory=dict)
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
    """Seed every request from (run seed, step, task). On a CPU in float32 completions then do not depend on batching or
    placement."""
    timeout_s: Positive = 600.0
    """An engine that stands still for so long is restarted; a run without any engine for so long (or `start_timeout_s`,
    if that is longer) ends."""
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
    def workers(self) -> int:
        """vLLM workers of one engine: its tensor-parallel size."""
        return max(1, int(self.gpus))

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


class EvaluationConfig(Section):
    """The held-out score."""

    pool: PoolConfig | None = None
    """Tasks to evaluate on; none: no evaluation, and no score."""
    every: Count = 10
    """Steps between two evaluations; the first is before step 1, the last after the last step."""
    samples: Count | dict[FolderName, Count] = 1
    """Completions per evaluation task; or, where the pool's sources name their `set`, for each set."""
    temperature: Amount = 1.0
    """0 decodes greedily; `samples` must then be 1."""

    @property
    def sets(self) -> tuple[str, ...]:
        """The named sets, in the order of the pool's sources; empty if it has none."""
        sources = () if self.pool is None else self.pool.sources
        return tuple(dict.fromkeys(source.set for source in sources if source.set is not None))

    def samples_of(self, name: str | None) -> int:
        """Completions per task of a set; of any task where the pool has no sets."""
        return self.samples if isinstance(self.samples, int) else self.samples[name or ""]

    @model_validator(mode="after")
    def _all_or_no_source_has_a_set(self) -> EvaluationConfig:
        sources = () if self.pool is None else self.pool.sources
        without = [number for number, source in enumerate(sources) if source.set is None]
        if self.sets and without:
            raise ValueError(
                f"evaluation.pool.sources.{without[0]} has no `set`, but others have ({', '.join(self.sets)}); name "
                "the set of each source, or of none"
            )
        if (
            not isinstance(self.samples, int)
            and self.pool is not None
            and (not self.samples or set(self.samples) != set(self.sets))
        ):
            raise ValueError(
                f"evaluation.samples is for the sets {', '.join(self.samples) or '(none)'}, but the sources of "
                f"evaluation.pool have the sets {', '.join(self.sets) or '(none)'}; give each set its samples, or one "
                "number for all"
            )
        return self

    @model_validator(mode="after")
    def _greedy_samples_once(self) -> EvaluationConfig:
        if self.temperature == 0 and self.samples != 1:
            raise ValueError(
                f"evaluation.temperature is 0, where all completions of a task are the same, but evaluation.samples is "
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
    """Write every completion with its reward, policy version and checksum to `rollouts/STEP.parquet`."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 50
    """Steps between checkpoints; 0 keeps none, and the run cannot be resumed."""
    trackers: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Where figures go besides the run's folder, TensorBoard and Prometheus; needs `bots-rft[trackers]`."""
    gpu_memory_gib: Positive | None = None
    """Memory of one GPU, GiB: a run whose memory plan exceeds it is refused before anything starts. None: unchecked."""
    wait_for_nodes_s: Annotated[float, Field(ge=0)] = 0.0
    """How long an autoscaler may take to bring the nodes that the plan needs; 0 refuses at once."""
    nodes_join_by_hand: bool = False
    """Wait `wait_for_nodes_s` without an autoscaler, too, because you add the nodes by `ray start --address`."""
    checkpoints_kept: Count = 2
    """How many checkpoints stay on disk; the newest is always one of them."""
    export: bool = True
    """Write the trained policy to `model/` at the end, for transformers and vLLM to load (LoRA merged)."""
    keep_best: bool = False
    """Keep the checkpoints with the best evaluation score, and the newest, instead of the newest ones."""

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

    def on(self, pool: TaskPool) -> TrainConfig:
        """The same with `auto` in selection replaced by what it stands for on this pool."""
        return self.model_copy(update={"selection": self.selection.on(pool)})

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
        if learner.weight_sync == "broadcast" and (learner.gpus > 0) != (rollout.gpus > 0):
            raise ValueError(
                f"learner.weight_sync is broadcast, but learner.gpus is {learner.gpus:g} and rollout.gpus "
                f"{rollout.gpus:g}: both sides must be on GPUs, or neither; object_store needs no such thing"
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
        if self.model.attention == "flash_attention_2" and self.model.dtype == "float32":
            raise ValueError(
                "model.attention is flash_attention_2, which knows no float32, and that is model.dtype; set "
                "model.dtype=bfloat16, or model.attention=sdpa"
            )
        return self


def load_config(path: str | Path, overrides: list[str] | None = None) -> TrainConfig:
    """Read a YAML file, lay `section.key=value` overrides over it and check the whole.

    Raises ConfigError with one line for each fault.
    """
    return parse_config(TrainConfig, read_tree(path, overrides or []), str(path))
