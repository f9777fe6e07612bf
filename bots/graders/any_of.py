"""Several accepted answers, as a grader's name: `any_of:exact` takes a JSON list and returns the best of its grades."""

from __future__ import annotations

import json
from dataclasses import dataclass

from bots.graders.base import Grade, Grader

PREFIX = "any_of:"


@dataclass(frozen=True)
class AnyOf:
    """Applies a grader of one answer to a task that accepts several answers.

    If the grader fails on one of the answers, the sample is ungraded: that answer might have been the right one.
    """

    name: str
    grader: Grader

    def __call__(self, prompt: str, answer: str, completion: str) -> Grade:
        accepted = accepted_answers(answer)
        best = Grade(0.0, "")
        for one in accepted:
            verdict = self.grader(prompt, one, completion)
            grade = verdict if isinstance(verdict, Grade) else Grade(float(verdict), "")
            if grade.reward >= 1.0:
                return grade
            if not best.reason or grade.reward > best.reward:
                best = grade
        more = len(accepted) - 1
        return Grade(best.reward, f"{best.reason} (nor any of {more} other answers)" if more else best.reason)


def accepted_answers(answer: str) -> list[str]:
    """The texts in the JSON list. Raises ValueError for anything else: the task is at fault."""
    accepted = json.loads(answer)
    if not isinstance(accepted, list) or not accepted or not all(isinstance(one, str) for one in accepted):
        raise ValueError(f"several accepted answers must be a JSON list of texts, not {answer[:80]!r}")
    return accepted
