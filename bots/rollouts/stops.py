"""Where a completion ends: the token that a chat template writes after an assistant's turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bots.rollouts.templates import PromptEncoder, TemplateError

_SAID, _NEXT = "0123456789", "9876543210"


@dataclass(frozen=True, slots=True)
class EndOfTurn:
    """What a template writes between an assistant's message and the next user message.

    token: id of its first token if that is a special token. text: the text written. Both are empty without a template.
    """

    token: int | None = None
    text: str = ""


def end_of_turn(encoder: PromptEncoder) -> EndOfTurn:
    """How the encoder's template closes an assistant's turn; empty without a template, or if it can't be rendered."""
    turns = [("user", "one"), ("assistant", _SAID), ("user", _NEXT)]
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        text = encoder.render(messages)
    except TemplateError:
        # Some templates support only one question and one answer, or not even the answer.
        try:
            text = encoder.render(messages[:2])
        except TemplateError:
            return EndOfTurn()
    _, found, rest = text.partition(_SAID)
    if encoder.plain or not found:
        return EndOfTurn()
    rest = rest.partition(_NEXT)[0].lstrip()
    tokenizer = encoder.tokenizer
    ids = tokenizer(rest, add_special_tokens=False)["input_ids"]
    special = bool(ids) and (ids[0] in tokenizer.all_special_ids or ids[0] in tokenizer.added_tokens_decoder)
    return EndOfTurn(int(ids[0]) if special else None, rest)


def ending_tokens(tokenizer: Any, generation: Any) -> set[int]:
    """Token ids that end a completion in an engine by default: the tokenizer's and the model's end-of-sequence tokens.

    generation: the model's generation configuration from transformers; None if it has none.
    """
    ends: set[int] = set()
    for given in (tokenizer.eos_token_id, getattr(generation, "eos_token_id", None)):
        if given is not None:
            ends |= set(given) if isinstance(given, list | tuple) else {int(given)}
    return ends
