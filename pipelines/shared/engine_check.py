"""Checks that vLLM can serve a model as the configuration asks, before an engine starts."""

from __future__ import annotations

from typing import Any

from bots.config.train import TrainConfig
from bots.config.tree import ConfigError

VOCABULARY_MULTIPLE = 64
"""vLLM fills up a vocabulary to a multiple of this before GPUs share it."""


def check_engines(config: TrainConfig, architecture: Any) -> None:
    """Raise ConfigError where completions are too long for the model, or the GPUs of an engine can't share it.

    architecture: the model's configuration, of transformers.
    """
    rollout, path = config.rollout, config.model.path
    limit = getattr(architecture.get_text_config(), "max_position_embeddings", rollout.max_model_len)
    if rollout.max_model_len > limit:
        raise ConfigError(
            f"rollout.max_model_len is {rollout.max_model_len}; the model {path!r} goes up to {limit}"
        )
    if rollout.workers == 1:
        return
    shared = _shared(architecture.get_text_config())
    if not _divide(shared, rollout.workers):
        possible = [str(n) for n in range(1, shared["attention heads"] + 1) if _divide(shared, n)]
        parts = ", ".join(f"{count} {what}" for what, count in shared.items())
        raise ConfigError(
            f"rollout.gpus is {rollout.gpus:g}, but that many GPUs can't share the model {path!r} evenly ({parts}); "
            f"set it to {' or '.join(possible)}, and start more engines (rollout.engines) for more GPUs"
        )


def _shared(text: Any) -> dict[str, int]:
    """What the GPUs of an engine share, with its number."""
    heads = text.num_attention_heads
    vocabulary = -(-text.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
    return {
        "attention heads": heads,
        "key-value heads": getattr(text, "num_key_value_heads", None) or heads,
        "hidden units of an MLP": getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        "rows of the output head": vocabulary,
    }


def _divide(shared: dict[str, int], gpus: int) -> bool:
    """Whether so many GPUs can share all of it. Several may have the same key-value head."""
    heads = shared["key-value heads"]
    others = all(count % gpus == 0 for what, count in shared.items() if what != "key-value heads")
    return others and (heads % gpus == 0 or gpus % heads == 0)
