"""The grader interface: a function from (prompt, answer, completion) to a reward with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grade:
    """One verdict.

    reward: float in [0, 1]; 1 is fully correct.
    reason: one short line for people who read the samples ("wrong final answer: 12, expected 9").
    """

    reward: float
    reason: str


def _do_nothing() -> None:
    pass


on_answer_read: Callable[[], None] = _do_nothing
"""A grader calls this once it has read the task's answer: from then on, a timeout is the completion's fault."""


Grader = Callable[[str, str, str], Grade]
"""`grader(prompt, answer, completion)`. Raises only if the grader or the task is at fault, never the completion."""


LONGEST_REASON = 500
"""Maximum length of a reason, in characters."""


def printable(text: str) -> str:
    """`text` as a reason: it may hold program or model output, but it is valid UTF-8, printable and short.

    Lone surrogates and control characters (except newlines) are written as escapes.
    """
    start = text[:LONGEST_REASON]
    shown = "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in start
    )
    return (
        shown
        if len(text) <= LONGEST_REASON and len(shown) <= LONGEST_REASON
        else shown[: LONGEST_REASON - 1] + "…"
    )
