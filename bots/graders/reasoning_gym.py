"""Tasks from reasoning-gym, graded by their generator's own `score_answer`.

`answer` is the task's whole entry as JSON (question, answer, metadata with `source_dataset`).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from bots.graders.base import Grade
from bots.graders.extract import after_thinking, final_answer


def grade(prompt: str, answer: str, completion: str) -> Grade:
    """The score in [0, 1] that the generator's `score_answer` gives to the marked answer, or else to the whole
    completion.

    Raises:
        ValueError: `answer` is not an entry of a known generator.
    """
    entry = json.loads(answer)
    if not isinstance(entry, dict) or not isinstance(entry.get("metadata"), dict):
        raise ValueError(  # noqa: TRY004
            "a reasoning_gym answer must be an entry with its metadata, as JSON"
        )
    name = entry["metadata"].get("source_dataset")
    said = final_answer(completion)
    if said is None:
        said = after_thinking(completion).strip()
    score = _scorer(name)
    try:
        reward = float(score(said, entry))
    except (
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        ArithmeticError,
        SyntaxError,
    ) as error:
        # Some generators raise on unreadable input. If they can score the right answer, the completion is at fault.
        if entry.get("answer") is None or not score(str(entry["answer"]), entry) > 0:
            raise
        return Grade(0.0, f"{name}: can't read {said[:60]!r} ({type(error).__name__})")
    return Grade(min(1.0, max(0.0, reward)), f"{name}: score {reward:g} for {said[:60]!r}")


@cache
def _scorer(name: str) -> Callable[[str, dict[str, Any]], float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # a dependency's: users can't fix it
        from reasoning_gym import get_score_answer_fn
    scorer: Callable[[str, dict[str, Any]], float] = get_score_answer_fn(name)
    return scorer
