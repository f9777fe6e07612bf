"""Prompts as the model sees them: chat templates, token ids, and the text graders get."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Prompt = str | Sequence[dict[str, str]]
"""A text (one user message) or a list of {role, content}."""
PLAIN = "plain"


class TemplateError(ValueError):
    """A chat template that is missing or fails, with the way out."""


class PromptEncoder:
    """Encodes prompts as token ids with a chat template.

    tokenizer: a loaded tokenizer, or the folder or hub name to load one from.
    template: None takes the tokenizer's own; "plain" joins the messages' texts with blank lines and uses no
        template (for base models); else a file with a Jinja template, or the template itself.
    Raises TemplateError where the tokenizer has no template and none is given.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | str | Path, template: str | None = None) -> None:
        if isinstance(tokenizer, str | Path):
            # Imported here: it takes seconds, and most processes only need `prompt_text`.
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        self.tokenizer: Any = tokenizer
        self.plain = template == PLAIN
        self._template = None if self.plain else _read_template(template)
        if not self.plain and self._template is None and not self.tokenizer.chat_template:
            raise TemplateError(
                f"the tokenizer of {self.tokenizer.name_or_path or 'the model'} has no chat template; set "
                "the pool's `template` to a Jinja file, a template's text, or `plain` for a base model"
            )

    def render(self, prompt: Prompt) -> str:
        """The whole text up to where the completion starts. Raises TemplateError if the template fails."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        if self.plain:
            return "\n\n".join(message["content"] for message in messages)
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, chat_template=self._template
            )
        except Exception as error:  # jinja2's errors, and any that a template raises
            raise TemplateError(
                f"the chat template fails on a prompt with roles {[m['role'] for m in messages]}: {error}"
            ) from error
        return text

    def encode(self, prompts: Sequence[Prompt]) -> list[npt.NDArray[np.int32]]:
        """Token ids of each prompt."""
        texts = [self.render(prompt) for prompt in prompts]
        # A chat template writes the special tokens.
        encoded = self.tokenizer(texts, add_special_tokens=self.plain, return_attention_mask=False)
        return [np.asarray(ids, np.int32) for ids in encoded["input_ids"]]

    def lengths(self, prompts: Sequence[Prompt]) -> npt.NDArray[np.int32]:
        """int32 (prompts,): tokens of each prompt, with the template's own."""
        return np.array([len(ids) for ids in self.encode(prompts)], np.int32)


def prompt_text(prompt: Prompt) -> str:
    """The prompt as graders get it: the messages' texts without the system prompt."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(message["content"] for message in prompt if message["role"] != "system")


def _read_template(template: str | None) -> str | None:
    if template is None or "{{" in template or "{%" in template:
        return template
    file = Path(template).expanduser()
    if not file.is_file():
        raise TemplateError(f"template {template!r} is neither a file nor a Jinja template (nor `plain`)")
    return file.read_text(encoding="utf-8")
