"""Prompts as token ids: once for the whole pool, before any engine starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from bots.pool import PoolError, TaskPool
from bots.templates import PromptEncoder


@dataclass(frozen=True)
class EncodedPool:
    """A pool with the token ids of its prompts, int32, in row order."""

    pool: TaskPool
    prompts: list[npt.NDArray[np.int32]]


def encode(
    pool: TaskPool, tokenizer: PreTrainedTokenizerBase, template: str | None, longest: int
) -> EncodedPool:
    """Encode every prompt through the chat template.

    longest: most tokens that leave room for an answer.
    Raises PoolError naming the first prompt that is too long, or that the tokenizer doesn't know.
    """
    texts = pool.table["prompt"].to_pylist()
    prompts = PromptEncoder(tokenizer, template).encode(texts)
    unknown = tokenizer.unk_token_id
    for row, prompt in enumerate(prompts):
        if len(prompt) > longest:
            raise PoolError(
                f"prompt of row {row} (id {pool.ids([row])[0]}) has {len(prompt)} tokens; at most {longest} leave "
                "room for an answer: raise rollout.max_model_len, or set pool.max_prompt_tokens to leave it out"
            )
        if unknown is not None and unknown in prompt:
            raise PoolError(
                f"prompt of row {row} (id {pool.ids([row])[0]}) holds text that the tokenizer doesn't know: "
                f"{texts[row]!r}; the tokenizer doesn't fit this pool"
            )
    return EncodedPool(pool, prompts)
