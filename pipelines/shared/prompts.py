"""Tokenize the prompts of a pool once, before any engine starts."""

from __future__ import annotations

import string
from collections.abc import Collection, Iterator
from typing import Any

from transformers import PreTrainedTokenizerBase

from bots.pool import PoolError, TaskPool
from bots.rollouts.encoded_pool import PIECE, EncodedPool, Prompts, TokenIds
from bots.rollouts.stops import end_of_turn
from bots.rollouts.templates import PromptEncoder, prompt_text


def encode(
    pool: TaskPool,
    tokenizer: PreTrainedTokenizerBase,
    template: str | None,
    longest: int,
    ends: Collection[int] | None = None,
) -> EncodedPool:
    """Encode every prompt with the chat template.

    longest: the most tokens a prompt may have, so that there is room for a completion. ends: tokens at which the engine
    stops without being told to; if the token that the template writes after an assistant's turn is not one of them, it
    becomes the pool's `stop_ids`. None: no `stop_ids`.
    Raises PoolError for the first prompt that is too long or has a character unknown to the tokenizer.
    """
    encoder = PromptEncoder(tokenizer, template)
    token = None if ends is None else end_of_turn(encoder).token
    stop_ids = () if ends is None or token is None or token in ends else (token,)
    return EncodedPool(pool, Prompts(_encoded(pool, encoder, longest)), stop_ids)


def _encoded(pool: TaskPool, encoder: PromptEncoder, longest: int) -> Iterator[TokenIds]:
    known = set(string.whitespace)
    for start in range(0, len(pool), PIECE):
        column = pool.table["prompt"].slice(start, PIECE).to_pylist()
        for row, prompt in enumerate(column, start):
            _check_characters(prompt_text(prompt), row, encoder.tokenizer, pool, known)
        encoded = encoder.encode(column)
        if start == 0:
            _check_differences(column, encoded, encoder)
        for row, tokens in enumerate(encoded, start):
            if not len(tokens):
                raise PoolError(
                    f"prompt of row {row} (id {pool.ids([row])[0]}) has no token: the chat template renders it to "
                    "nothing, and no engine takes an empty prompt; set the pool's `template`"
                )
            if len(tokens) > longest:
                raise PoolError(
                    f"prompt of row {row} (id {pool.ids([row])[0]}) has {len(tokens)} tokens; at most {longest} "
                    "leave room for a completion. Raise rollout.max_model_len, or set pool.max_prompt_tokens to "
                    "leave such tasks out"
                )
            yield tokens


def _check_differences(prompts: list[Any], encoded: list[TokenIds], encoder: PromptEncoder) -> None:
    """Raise PoolError where different prompts look the same to the model: the template leaves the task out."""
    asked = {prompt_text(prompt) for prompt in prompts}
    if len(asked) > 1 and len({tokens.tobytes() for tokens in encoded}) == 1:
        raise PoolError(
            f"the chat template renders {len(prompts)} prompts alike, as {encoder.render(prompts[0])!r}: it leaves the "
            "task out; set the pool's `template`"
        )


def _check_characters(
    text: str, row: int, tokenizer: PreTrainedTokenizerBase, pool: TaskPool, known: set[str]
) -> None:
    """Raise PoolError if the tokenizer has no token for a character; some tokenizers drop it silently.

    known: characters that have tokens; updated in place.
    """
    for character in set(text) - known:
        ids = tokenizer(character, add_special_tokens=False)["input_ids"]
        if not ids or tokenizer.unk_token_id in ids:
            raise PoolError(
                f"prompt of row {row} (id {pool.ids([row])[0]}) contains {character!r}, for which the tokenizer "
                f"has no token: {text!r}. The tokenizer doesn't fit this pool"
            )
        known.add(character)
