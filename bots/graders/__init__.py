"""Graders: (prompt, answer, completion) → reward in [0, 1] with a reason."""

from bots.graders.base import Grade, Grader

__all__ = ["Grade", "Grader"]
