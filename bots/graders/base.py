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


Grader = Callable[[str, str, str], Grade]
"""`grader(prompt, answer, completion)`. Raises only if it is itself at fault, never for a bad completion."""
