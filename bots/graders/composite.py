"""Weighted sums of graders, written as a grader's name: `0.9*math + 0.1*format_boxed`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from bots.graders.base import Grade, Grader

_TERM = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*\*\s*([A-Za-z_][\w.:]*)\s*")


@dataclass(frozen=True)
class Composite:
    """The weighted mean of graders: `parts` are (weight, name, grader); the weights sum to 1.

    If one grader fails, the sample is ungraded: a reward without one of its parts would not be comparable.
    """

    parts: tuple[tuple[float, str, Grader], ...]

    def __call__(self, prompt: str, answer: str, completion: str) -> Grade:
        grades = [
            (weight, name, _checked(name, grader(prompt, answer, completion)))
            for weight, name, grader in self.parts
        ]
        reward = math.fsum(weight * grade.reward for weight, _, grade in grades)
        reason = "; ".join(f"{name} {grade.reward:g} ({grade.reason})" for _, name, grade in grades)
        return Grade(min(1.0, reward), reason)  # rounding may push the sum above 1


def _checked(name: str, verdict: Grade | float) -> Grade:
    """A part's verdict, which may also be a bare reward. Raises ValueError for a reward outside [0, 1]."""
    grade = verdict if isinstance(verdict, Grade) else Grade(float(verdict), "")
    if not 0 <= grade.reward <= 1:
        raise ValueError(f"{name} gave the reward {grade.reward}, not one in [0, 1]")
    return grade


def parse(name: str) -> list[tuple[float, str]] | None:
    """The (weight, grader's name) pairs of a composite's name; None if it is not a composite.

    Raises:
        ValueError: it looks like a composite, but a term is malformed, a weight is not positive, a grader appears
            twice, or the weights don't sum to 1.
    """
    if "*" not in name:
        return None
    parts = []
    for text in name.split("+"):
        term = _TERM.fullmatch(text)
        if term is None:
            raise ValueError(f"composite grader {name!r}: {text.strip()!r} is not `weight*grader`")
        parts.append((float(term[1]), term[2]))
    names = [part for _, part in parts]
    if len(set(names)) < len(names):
        raise ValueError(f"composite grader {name!r}: a grader comes twice")
    if any(weight <= 0 for weight, _ in parts):
        raise ValueError(f"composite grader {name!r}: every weight must be positive")
    total = math.fsum(weight for weight, _ in parts)
    if abs(total - 1) > 1e-6:
        raise ValueError(f"composite grader {name!r}: the weights sum to {total:g}, not 1")
    return parts
