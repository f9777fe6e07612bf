"""Prompts as token ids: once for the whole pool, before any engine starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bots.pool import PoolError, TaskPool


@dataclass(frozen=True)
class EncodedPool:
    """A pool with the token ids of its prompts, int32, in row order."""

    pool: TaskPool
    prompts: list[npt.NDArray[np.int32]]


def encode(pool: TaskPool, tokenizer: Any, longest: int) -> EncodedPool:
    """Encode every prompt: text as it stands, messages through the tokenizer's chat template.

    longest: most tokens that leave room for an answer.
    Raises PoolError naming the first prompt that is too long, or holds text the tokenizer doesn't know.
    """
    column = pool.table["prompt"].to_pylist()
    if isinstance(column[0], str):
        ids = tokenizer(column)["input_ids"]
    else:
        if tokenizer.chat_template is None:
            raise PoolError("prompts are messages, but the tokenizer has no chat template; set pool.template")
        ids = tokenizer.apply_chat_template(column, add_generation_prompt=True, return_dict=False)
    prompts = [np.asarray(one, np.int32) for one in ids]
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
                f"{column[row]!r}; the tokenizer doesn't fit this pool"
            )
    return EncodedPool(pool, prompts)
