"""Checks the form of a completion, for a small share of a composite reward."""

from __future__ import annotations

from bots.graders import code
from bots.graders.base import Grade
from bots.graders.extract import after_thinking, boxed, tagged


def grade_boxed(prompt: str, answer: str, completion: str) -> Grade:
    r"""1 if there is a complete, non-empty `\boxed{…}` after the thinking."""
    return _grade(bool(boxed(after_thinking(completion))), r"\boxed{…}")


def grade_answer_tags(prompt: str, answer: str, completion: str) -> Grade:
    """1 if there is a non-empty `<answer>…</answer>` after the thinking."""
    return _grade(bool(tagged(completion)), "<answer>…</answer>")


def grade_think(prompt: str, answer: str, completion: str) -> Grade:
    """1 if the completion is one thought closed by `</think>`, followed by some text.

    `<think>` itself may be missing: many chat templates put it into the prompt.
    """
    thought, closed, rest = completion.partition("</think>")
    thought = thought.strip().removeprefix("<think>")
    once = "<think>" not in thought and "<think>" not in rest and "</think>" not in rest
    has = bool(closed) and once and bool(thought.strip()) and bool(rest.strip())
    return _grade(has, "<think>…</think> and an answer after it")


def grade_code_block(prompt: str, answer: str, completion: str) -> Grade:
    """1 if there is a complete fenced block of Python after the thinking."""
    return _grade(code.extract(completion) is not None, "a block of Python")


def _grade(has: bool, what: str) -> Grade:
    return Grade(1.0, f"has {what}") if has else Grade(0.0, f"lacks {what}")
