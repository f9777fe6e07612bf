"""Preflight: load and check a run's model, tokenizer, pools and selection, without Ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from actors.trackers import require
from actors.weights.sync import check_weight_sync
from bots.config.no_effect import without_effect
from bots.config.train import SelectionConfig, TrainConfig
from bots.config.tree import ConfigError
from bots.evidence import FROM_ANCHORS
from bots.graders.waiting import waits
from bots.graders.workers import check_time_limit
from bots.learning.losses import make_loss
from bots.learning.policy import check_attention, check_policy
from bots.pool import PoolError, TaskPool
from bots.rollouts.encoded_pool import EncodedPool
from bots.rollouts.stops import end_of_turn, ending_tokens
from bots.rollouts.templates import PromptEncoder
from bots.selection import preset_of
from bots.settings import STATE_SPACE
from pipelines.shared.command import warn
from pipelines.shared.engine_check import check_engines
from pipelines.shared.golds import look_at_golds
from pipelines.shared.memory import plan_memory
from pipelines.shared.pool import build_pool
from pipelines.shared.prompts import encode
from pipelines.shared.selection_check import check_selection

LAB = "lab:"
FEW_UNKNOWN = 0.1
"""Share of tasks without anchors up to which there is no warning."""


@dataclass(frozen=True)
class RunInputs:
    """What a run needs to start, all checked: configuration, model folder and tokenized pools."""

    config: TrainConfig
    model: str
    train: EncodedPool
    evaluation: EncodedPool | None
    warnings: tuple[str, ...] = ()
    """Settings that run, but probably not as intended."""
    memory: tuple[str, ...] = ()
    """The memory plan, as lines of a table."""

    def summary_lines(self) -> list[str]:
        """Lines that a dry run prints."""
        warnings = (f"warning: {warning}" for warning in self.warnings)
        return [f"pool: {len(self.train.pool)} tasks", *warnings, *self.memory]

    def warn(self, console: Console) -> None:
        """Print the warnings."""
        for warning in self.warnings:
            warn(console, warning)


def load_inputs(config: TrainConfig) -> RunInputs:
    """Load and check the model's configuration, its tokenizer and the pools.

    In what is returned, selection.belief and selection.prior are what `auto` stands for on this pool.
    Raises ConfigError or PoolError naming the key, the value and the fix.
    """
    require(config.run.trackers)
    model, architecture, tokenizer = load_config_and_tokenizer(config.model.path)
    check_policy(model, config.learner.lora)
    check_attention(config.model)
    check_engines(config, architecture)
    memory = tuple(plan_memory(config, model))
    try:
        make_loss(config.learner.loss, config.learner.loss_options, config.learner.updates_per_batch)
    except ValueError as error:
        raise ConfigError(f"learner.loss: {error}") from None
    try:
        check_weight_sync(config.learner)
    except ValueError as error:
        raise ConfigError(f"learner.weight_sync: {error}") from None
    longest = config.rollout.max_model_len - config.rollout.max_tokens
    pool = build_pool(config.pool, tokenizer)
    pool.require("prompt", "answer", "grader")
    _check_graders(config, pool)
    waves = config.rollout.max_staleness + 1
    if config.selection.tasks * waves > len(pool):
        times = f" x (rollout.max_staleness + 1) = {config.selection.tasks * waves}" if waves > 1 else ""
        raise ConfigError(
            f"selection.tasks is {config.selection.tasks}{times}, but the pool has only {len(pool)} tasks"
        )
    config = config.on(pool)
    check_selection(pool, "selection", **config.selection.settings(config.rollout.samples, config.run.seed))
    ends = engine_ends(model, tokenizer)
    train = encode(pool, tokenizer, config.pool.template, longest, ends)
    told = (
        *without_effect(config),
        *_engine_warnings(config),
        *_anchor_warnings(config, pool),
        *look_at_golds(pool),
    )
    warnings = (*told, *_endings(config, tokenizer, train))
    if config.evaluation.pool is None:
        return RunInputs(config, model, train, None, warnings, memory)
    held_out = build_pool(config.evaluation.pool, tokenizer)
    held_out.require("prompt", "answer", "grader")
    _check_graders(config, held_out)
    shared = np.intersect1d(pool.ids(), held_out.ids())
    if len(shared):
        raise PoolError(
            f"{len(shared)} tasks of evaluation.pool are also in the training pool, for example {shared[0]!r}; "
            "a held-out score needs different tasks"
        )
    evaluation = encode(held_out, tokenizer, config.evaluation.pool.template, longest, ends)
    return RunInputs(config, model, train, evaluation, warnings, memory)


def _check_graders(config: TrainConfig, pool: TaskPool) -> None:
    names = pool.table["grader"].unique().to_pylist()
    try:
        check_time_limit(config.grading.timeout_s, names)
    except ValueError as error:
        raise ConfigError(f"grading.timeout_s: {error}") from None
    asking = [name for name in names if waits(name)]
    if asking and config.grading.judge is None:
        raise ConfigError(
            f"grading.judge is not set, but tasks have the grader {asking[0]!r}, which asks a language model: set "
            "`grading.judge.url` and `grading.judge.model` to an OpenAI-compatible server"
        )


def engine_ends(model: str, tokenizer: Any) -> set[int]:
    """The tokens at which an engine with this model (folder or hub name) stops without being told to."""
    try:
        generation = GenerationConfig.from_pretrained(model)
    except OSError:
        # Without a generation config, only the tokenizer's end-of-sequence token ends a completion.
        generation = None
    return ending_tokens(tokenizer, generation)


def _endings(config: TrainConfig, tokenizer: Any, train: EncodedPool) -> Iterator[str]:
    """A warning if the model may not know how the template ends an assistant's turn."""
    written = end_of_turn(PromptEncoder(tokenizer, config.pool.template))
    if train.stop_ids:
        yield (
            f"the chat template ends an assistant's turn with {tokenizer.convert_ids_to_tokens(written.token)!r}, "
            f"which is not an end token of {config.model.path!r}; engines are told to stop at it. A base model may "
            "need pool.template=plain"
        )
    elif written.text and written.token is None:
        yield (
            f"the chat template ends an assistant's turn with the text {written.text[:20]!r}, at which engines can't "
            "stop; a completion ends only if the model writes its end-of-sequence token"
        )


def _engine_warnings(config: TrainConfig) -> Iterator[str]:
    """Lines where engines will be idle, or can't generate a group's completions together."""
    rollout, tasks = config.rollout, config.selection.tasks
    waves = rollout.max_staleness + 1
    if dynamic := config.selection.dynamic:
        tasks = ceil(dynamic.oversample * tasks)
    idle = rollout.engines - waves * tasks
    if idle > 0:
        times = f" x (rollout.max_staleness + 1) = {waves * tasks}" if waves > 1 else ""
        yield (
            f"rollout.engines is {rollout.engines}, but a wave has only {tasks} groups{times}, and a group is one "
            f"engine's: {idle} engine{'s are' if idle > 1 else ' is'} always idle. Lower rollout.engines or raise "
            "selection.tasks"
        )
    if rollout.max_num_seqs < rollout.samples:
        yield (
            f"rollout.max_num_seqs is {rollout.max_num_seqs}, less than a group's {rollout.samples} completions "
            "(rollout.samples): an engine generates a group in parts, one group at a time"
        )


def _anchor_warnings(config: TrainConfig, pool: TaskPool) -> Iterator[str]:
    """Lines where much of the pool lacks the reference pass rates that the selection reckons with."""
    selection, unknown = config.selection, len(pool) - pool.anchored
    if unknown <= FEW_UNKNOWN * len(pool):
        return
    lacking = f"{unknown:,} of the pool's {len(pool):,} tasks have no reference pass rates"
    uses_beliefs = selection.selector not in ("random", "offline")
    uses = [f"evidence {selection.evidence}"] * (selection.evidence in FROM_ANCHORS and selection.rho > 0)
    uses += ["selector offline"] * (selection.selector == "offline")
    # From levels the evidence about those tasks is learned, and their uniform prior soon means nothing.
    learns = selection.evidence == "auto" and selection.rho > 0 and pool.has_levels
    uses += ["prior anchors"] * (not isinstance(selection.prior, tuple) and not learns)
    if uses:
        yield f"{lacking}, and {' and '.join(uses)} cannot use those tasks; `bots anchors` measures them"
    elif selection.belief == STATE_SPACE and uses_beliefs and (pool.has_levels or pool.has_embeddings):
        known = " and ".join(["levels"] * pool.has_levels + ["embeddings"] * pool.has_embeddings)
        yield (
            f"{lacking}; belief state_space learns during the run what their domains and {known} say "
            "(docs/beliefs.md). `bots anchors` measures the pass rates"
        )
    elif selection.evidence == "auto" and selection.rho > 0 and uses_beliefs:
        yield f"{lacking}; {_fallback(selection, pool)}"


def _fallback(selection: SelectionConfig, pool: TaskPool) -> str:
    """What evidence "auto" uses for tasks without anchors, and what would be better."""
    if pool.has_levels:
        return (
            "evidence about them is learned during the run from domains and levels. `bots anchors` measures the pass "
            "rates, and selection is better with them (docs/selection.md)"
        )
    advice = (
        "the pool has no levels either, so the only evidence about a task is its own rollouts. `bots embed` and "
        "selection.belief=state_space let prompts tell what to expect (docs/data.md#embeddings); `bots "
        "anchors` measures the pass rates; a column `level` helps too"
    )
    if "lam" in preset_of(selection.selector, selection.forgetting).fixed:
        return advice
    present = f"{selection.lam:g}" if selection.adaptor is None else "a self-tuned λ"
    return f"{advice}. With none of them, selection.lam=0 is better than {present} (docs/selection.md)"


def model_path(path: str) -> str:
    """The model's folder or hub name; `lab:base`, `lab:weak` and `lab:strong` ship with the package."""
    if path.startswith(LAB):
        from bots.lab.checkpoints import checkpoint_path

        try:
            return str(checkpoint_path(path.removeprefix(LAB)))
        except (ValueError, FileNotFoundError) as error:
            raise ConfigError(f"model.path: {error}") from error
    # A hub name is `model` or `owner/model`.
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1 or Path(path).exists()
    if looks_local and not Path(path).expanduser().is_dir():
        raise ConfigError(f"model.path: there is no folder {path}")
    return str(Path(path).expanduser().absolute()) if looks_local else path


def load_config_and_tokenizer(path: str) -> tuple[str, Any, Any]:
    """A model's folder or hub name (see `model_path`), its configuration and its tokenizer.

    Raises ConfigError naming the path if one of them cannot be loaded or they don't match.
    """
    model = model_path(path)
    try:
        architecture = AutoConfig.from_pretrained(model)
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise ConfigError(f"model.path {path!r} cannot be loaded: {error}") from error
    vocabulary = architecture.get_text_config().vocab_size
    if len(tokenizer) > vocabulary:
        raise ConfigError(
            f"model.path {path!r}: the tokenizer has {len(tokenizer)} tokens, the model only "
            f"{vocabulary} embeddings; they don't belong together"
        )
    return model, architecture, tokenizer
