"""Graders: (prompt, answer, completion) → reward in [0, 1] with a reason."""

from bots.graders.base import Grade, Grader
from bots.graders.registry import UnknownGraderError, names, preflight, resolve

__all__ = ["Grade", "Grader", "UnknownGraderError", "names", "preflight", "resolve"]
