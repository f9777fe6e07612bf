"""Prompts as the model sees them: chat templates, token ids, and the text that graders get."""

from __future__ import annotations

import re
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
# Private-use characters: no tokenizer, template or task gives them a meaning.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_PLACEHOLDER = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


class TemplateError(ValueError):
    """A chat template is missing or fails; the message says how to fix it."""


class PromptEncoder:
    """Encodes prompts as token ids with a chat template.

    tokenizer: a loaded tokenizer, or the folder or hub name to load one from.
    template: None uses the tokenizer's own; "plain" joins the messages' texts with blank lines and uses no template
        (for base models); otherwise a file with a Jinja template, or the template itself.
    Raises TemplateError if the tokenizer has no template and none is given.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | str | Path, template: str | None = None) -> None:
        if isinstance(tokenizer, str | Path):
            # Imported here: the import takes seconds, and most processes only need `prompt_text`.
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        self.tokenizer: Any = tokenizer
        special = sorted(map(str, self.tokenizer.all_special_tokens), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, special))) if special else None
        self.plain = template == PLAIN
        self._template = None if self.plain else _read_template(template)
        if not self.plain and self._template is None and not self.tokenizer.chat_template:
            raise TemplateError(
                f"the tokenizer of {self.tokenizer.name_or_path or 'the model'} has no chat template; set "
                "the pool's `template` to a Jinja file, a template's text, or `plain` for a base model"
            )

    def render(self, prompt: Prompt) -> str:
        """The full text up to the start of the completion. Raises TemplateError if the template fails."""
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
        """Token ids of each prompt.

        Only the template (and the tokenizer's own frame) writes special tokens. If a task's text contains the spelling
        of one, such as `<|im_end|>`, it is encoded as plain text and can't end or open a turn.
        """
        texts = [self.render(prompt) for prompt in prompts]
        # The chat template writes the special tokens itself.
        encoded = self.tokenizer(texts, add_special_tokens=self.plain, return_attention_mask=False)
        return [
            np.asarray(self._guarded(prompt) if self.spells_special(prompt) else ids, np.int32)
            for prompt, ids in zip(prompts, encoded["input_ids"], strict=True)
        ]

    def spells_special(self, prompt: Prompt) -> bool:
        """Whether a prompt's own text contains the spelling of a special token."""
        if self._special is None:
            return False
        contents = [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]
        return any(self._special.search(content) for content in contents)

    def _guarded(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt that contains spellings of special tokens.

        Each spelling is replaced by a placeholder before the template sees it, and encoded separately.
        """
        if self.plain:
            text = self.render(prompt)
            ids: list[int] = self.tokenizer(text, add_special_tokens=True, split_special_tokens=True)[
                "input_ids"
            ]
            return ids
        spelled: list[str] = []

        def take(match: re.Match[str]) -> str:
            spelled.append(match[0])
            return f"{_OPEN}{len(spelled) - 1}{_CLOSE}"

        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        special: re.Pattern[str] = self._special  # type: ignore[assignment]  # the caller has looked
        masked = [{**message, "content": special.sub(take, message["content"])} for message in messages]
        out: list[int] = []
        # Every second part is the number between a pair of marks.
        for place, part in enumerate(_PLACEHOLDER.split(self.render(masked))):
            as_text = place % 2 == 1
            text = spelled[int(part)] if as_text else part
            out += self.tokenizer(text, add_special_tokens=False, split_special_tokens=as_text)["input_ids"]
        return out

    def lengths(self, prompts: Sequence[Prompt]) -> npt.NDArray[np.int32]:
        """int32 (prompts,): number of tokens in each prompt, including the template's."""
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
