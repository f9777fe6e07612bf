"""The final answer, letter for letter but for case, blanks and quotes around it."""

from __future__ import annotations

from bots.graders.base import Grade
from bots.graders.extract import final_answer


def grade(prompt: str, answer: str, completion: str) -> Grade:
    """1 if the completion's final answer (`extract.final_answer`), or its last line if none is marked, is
    `answer`.
    """
    said = final_answer(completion)
    if said is None:
        return Grade(0.0, "no answer")
    if _plain(said) == _plain(answer):
        return Grade(1.0, "right")
    return Grade(0.0, f"answered {said[:60]!r}, expected {answer[:60]!r}")
