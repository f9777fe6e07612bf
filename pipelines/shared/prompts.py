"""Prompts as token ids: once for the whole pool, before any engine starts."""

from __future__ import annotations

import string
from collections.abc import Collection, Iterator

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
    """Encode every prompt through the chat template.

    longest: most tokens that leave room for an answer. ends: tokens by which the engine ends a completion by itself;
    if the one that the template writes after an assistant's turn is not among them, the pool's `stop_ids` hold it.
    None: they hold nothing.
    Raises PoolError naming the first prompt that is too long, or that the tokenizer doesn't know.
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
        for row, tokens in enumerate(encoder.encode(column), start):
            if len(tokens) > longest:
                raise PoolError(
                    f"prompt of row {row} (id {pool.ids([row])[0]}) has {len(tokens)} tokens; at most {longest} "
                    "leave room for an answer: raise rollout.max_model_len, or set pool.max_prompt_tokens to leave "
                    "it out"
                )
            yield tokens


def _check_characters(
    text: str, row: int, tokenizer: PreTrainedTokenizerBase, pool: TaskPool, known: set[str]
) -> None:
    """Raise PoolError if the tokenizer has no token for a character: some drop it without a word.

    known: characters that it has tokens for; grows.
    """
    for character in set(text) - known:
        ids = tokenizer(character, add_special_tokens=False)["input_ids"]
        if not ids or tokenizer.unk_token_id in ids:
            raise PoolError(
                f"prompt of row {row} (id {pool.ids([row])[0]}) holds {character!r}, which the tokenizer "
                f"doesn't know: {text!r}; the tokenizer doesn't fit this pool"
            )
        known.add(character)
