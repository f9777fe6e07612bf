"""Prompts as token ids: once for the whole pool, before any engine starts."""

from __future__ import annotations

import string
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from bots.encoded import EncodedPool, Prompts
from bots.pool import PoolError, TaskPool
from bots.templates import PromptEncoder, prompt_text


def encode(
    pool: TaskPool, tokenizer: PreTrainedTokenizerBase, template: str | None, longest: int
) -> EncodedPool:
    """Encode every prompt through the chat template.

    longest: most tokens that leave room for an answer.
    Raises PoolError naming the first prompt that is too long, or that the tokenizer doesn't know.
    """
    encoder = PromptEncoder(tokenizer, template)
    column = pool.table["prompt"].to_pylist()
    texts = [prompt_text(prompt) for prompt in column]
    _check_characters(texts, tokenizer, pool)
    prompts = encoder.encode(column)
    for row, prompt in enumerate(prompts):
        if len(prompt) > longest:
            raise PoolError(
                f"prompt of row {row} (id {pool.ids([row])[0]}) has {len(prompt)} tokens; at most {longest} leave "
                "room for an answer: raise rollout.max_model_len, or set pool.max_prompt_tokens to leave it out"
            )
    return EncodedPool(pool, Prompts(prompts))


def _check_characters(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, pool: TaskPool) -> None:
    """Raise PoolError if the tokenizer has no token for a character: some drop it without a word."""
    known = set(string.whitespace)
    for row, text in enumerate(texts):
        for character in set(text) - known:
            ids = tokenizer(character, add_special_tokens=False)["input_ids"]
            if not ids or tokenizer.unk_token_id in ids:
                raise PoolError(
                    f"prompt of row {row} (id {pool.ids([row])[0]}) holds {character!r}, which the tokenizer "
                    f"doesn't know: {text!r}; the tokenizer doesn't fit this pool"
                )
            known.add(character)
