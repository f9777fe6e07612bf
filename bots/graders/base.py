"""What a grader is: a function from (prompt, answer, completion) to a reward with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grade:
    """One verdict.

    reward: float in [0, 1]; 1 is fully right.
    reason: one short line for the person who reads the samples ("wrong final answer: 12, expected 9").
    """

    reward: float
    reason: str


def _do_nothing() -> None:
    pass


on_answer_read: Callable[[], None] = _do_nothing
"""A grader calls this when it has read the task's answer: what takes too long after it is the completion's fault."""


Grader = Callable[[str, str, str], Grade]
"""`grader(prompt, answer, completion)`. Raises only if it is itself at fault, never for a bad completion."""


LONGEST_REASON = 500
"""Characters of a reason."""


def printable(text: str) -> str:
    """`text` as a reason: what a program or a model wrote may have in it, but valid UTF-8, printable, and short.

    Lone surrogates and control characters (but for the line's end) are written as escapes.
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
