"""What can be checked of a job without Ray is checked here: model, tokenizer, pools, selection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from actors.trackers import require
from bots.config.no_effect import without_effect
from bots.config.train import SelectionConfig, TrainConfig
from bots.config.tree import ConfigError
from bots.evidence import FROM_ANCHORS
from bots.learning.policy import check_policy
from bots.pool import PoolError, TaskPool
from bots.rollouts.encoded_pool import EncodedPool
from bots.rollouts.stops import end_of_turn, ending_tokens
from bots.rollouts.templates import PromptEncoder
from bots.selection import preset_of
from pipelines.shared.command import warn
from pipelines.shared.pool import build_pool
from pipelines.shared.prompts import encode
from pipelines.shared.selection_check import check_selection

LAB = "lab:"
FEW_UNKNOWN = 0.1
"""Up to such a share of tasks without anchors is nothing to warn of."""


@dataclass(frozen=True)
class Prepared:
    """A run that may start: the resolved model folder and the encoded pools."""

    config: TrainConfig
    model: str
    train: EncodedPool
    evaluation: EncodedPool | None
    warnings: tuple[str, ...] = ()
    """What can run, but hardly as it was meant."""

    def outline(self) -> list[str]:
        """What a dry run says of it, line by line."""
        return [f"pool: {len(self.train.pool)} tasks", *(f"warning: {warning}" for warning in self.warnings)]

    def warn(self, console: Console) -> None:
        """Print the warnings."""
        for warning in self.warnings:
            warn(console, warning)


def prepare(config: TrainConfig) -> Prepared:
    """Load and check the model's configuration, its tokenizer and the pools.

    Raises ConfigError or PoolError that names the key, the value and the way out.
    """
    require(config.run.trackers)
    model, architecture, tokenizer = load_outlines(config.model.path)
    check_policy(model, config.learner.lora)
    limit = getattr(architecture, "max_position_embeddings", config.rollout.max_model_len)
    if config.rollout.max_model_len > limit:
        raise ConfigError(
            f"rollout.max_model_len is {config.rollout.max_model_len}; the model {config.model.path!r} "
            f"goes up to {limit}"
        )
    longest = config.rollout.max_model_len - config.rollout.max_tokens
    pool = build_pool(config.pool, tokenizer)
    pool.require("prompt", "answer", "grader")
    waves = config.rollout.max_staleness + 1
    if config.selection.tasks * waves > len(pool):
        under_way = f" x (rollout.max_staleness + 1) = {config.selection.tasks * waves}" if waves > 1 else ""
        raise ConfigError(
            f"selection.tasks is {config.selection.tasks}{under_way}, but the pool has only {len(pool)} tasks"
        )
    check_selection(pool, "selection", **config.selection.settings(config.rollout.samples, config.run.seed))
    ends = engine_ends(model, tokenizer)
    train = encode(pool, tokenizer, config.pool.template, longest, ends)
    warnings = (*without_effect(config), *_few_anchors(config, pool), *_endings(config, tokenizer, train))
    if config.evaluation.pool is None:
        return Prepared(config, model, train, None, warnings)
    held_out = build_pool(config.evaluation.pool, tokenizer)
    held_out.require("prompt", "answer", "grader")
    shared = np.intersect1d(pool.ids(), held_out.ids())
    if len(shared):
        raise PoolError(
            f"{len(shared)} tasks of evaluation.pool are also in the training pool, for example {shared[0]!r}; "
            "a held-out score needs others"
        )
    evaluation = encode(held_out, tokenizer, config.evaluation.pool.template, longest, ends)
    return Prepared(config, model, train, evaluation, warnings)


def engine_ends(model: str, tokenizer: Any) -> set[int]:
    """The tokens by which an engine with the model of this folder or hub name ends a completion by itself."""
    try:
        generation = GenerationConfig.from_pretrained(model)
    except OSError:
        # A model without one is a model that ends by its tokenizer's end-of-sequence token alone.
        generation = None
    return ending_tokens(tokenizer, generation)


def _endings(config: TrainConfig, tokenizer: Any, train: EncodedPool) -> Iterator[str]:
    """A line where the model may not know how the template ends an assistant's turn."""
    written = end_of_turn(PromptEncoder(tokenizer, config.pool.template))
    if train.stop_ids:
        yield (
            f"the chat template ends an assistant's turn with {tokenizer.convert_ids_to_tokens(written.token)!r}, by "
            f"which engines of {config.model.path!r} don't stop by themselves; they are told to. A base model may need "
            "pool.template=plain"
        )
    elif written.text and written.token is None:
        yield (
            f"the chat template ends an assistant's turn with the text {written.text[:20]!r}, at which an engine can't "
            "stop; completions end only where the model writes its end-of-sequence token"
        )


def _few_anchors(config: TrainConfig, pool: TaskPool) -> Iterator[str]:
    """Lines where much of the pool lacks the reference pass rates that the selection reckons with."""
    selection, unknown = config.selection, len(pool) - pool.anchored
    if unknown <= FEW_UNKNOWN * len(pool):
        return
    lacking = f"{unknown:,} of the pool's {len(pool):,} tasks have no reference pass rates"
    believes = selection.selector not in ("random", "offline")
    uses = [f"evidence {selection.evidence}"] * (selection.evidence in FROM_ANCHORS and selection.rho > 0)
    uses += ["selector offline"] * (selection.selector == "offline")
    uses += ["prior anchors"] * (selection.prior == "anchors")
    if uses:
        yield f"{lacking}, and {' and '.join(uses)} can say nothing of those; `bots anchors` measures them"
    elif selection.evidence == "auto" and selection.rho > 0 and believes:
        yield f"{lacking}; {_instead(selection, pool)}"


def _instead(selection: SelectionConfig, pool: TaskPool) -> str:
    """What evidence auto has for tasks without anchors, and what would be better."""
    if pool.has_levels:
        return (
            "their evidence is learnt on the way from domains and levels. `bots anchors` measures them, and with "
            "them selection is better (docs/selection.md)"
        )
    told = (
        "nor has the pool levels, so that their own rollouts are the only evidence of those. `bots anchors` measures "
        "them; a column `level` helps too"
    )
    if "lam" in preset_of(selection.selector, selection.forgetting).fixed:
        return told
    present = f"{selection.lam:g}" if selection.adaptor is None else "one that tunes itself"
    return f"{told}; with neither, selection.lam=0 is better than {present} (docs/selection.md)"


def model_path(path: str) -> str:
    """The model's folder or hub name; `lab:base` and its kin are the checkpoints shipped with the package."""
    if path.startswith(LAB):
        from bots.lab.checkpoints import checkpoint_path

        try:
            return str(checkpoint_path(path.removeprefix(LAB)))
        except (ValueError, FileNotFoundError) as error:
            raise ConfigError(f"model.path: {error}") from error
    # The name of a hub is `model` or `owner/model`.
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1 or Path(path).exists()
    if looks_local and not Path(path).expanduser().is_dir():
        raise ConfigError(f"model.path: there is no folder {path}")
    return str(Path(path).expanduser().absolute()) if looks_local else path


def load_outlines(path: str) -> tuple[str, Any, Any]:
    """Where a model lies, as `model_path` says, its configuration and its tokenizer.

    Raises ConfigError that names the path if one of them cannot be loaded, or they don't belong together.
    """
    model = model_path(path)
    try:
        architecture = AutoConfig.from_pretrained(model)
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise ConfigError(f"model.path {path!r} cannot be loaded: {error}") from error
    if len(tokenizer) > architecture.vocab_size:
        raise ConfigError(
            f"model.path {path!r}: its tokenizer has {len(tokenizer)} tokens and its model "
            f"only {architecture.vocab_size} embeddings; they don't belong together"
        )
    return model, architecture, tokenizer
