"""Tasks from reasoning-gym, graded by their generator's own `score_answer`.

`answer` is the task's whole entry as JSON (question, answer, metadata with `source_dataset`).
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

from bots.graders.base import Grade
from bots.graders.extract import after_thinking, final_answer
from bots.graders.safe_evaluation import guard


def grade(prompt: str, answer: str, completion: str) -> Grade:
    """The score in [0, 1] that the generator's `score_answer` gives to the marked answer, or else to the whole
    completion; 0 where `_AND_ALSO` says so.

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
    if name in _AND_ALSO and not _AND_ALSO[name](said, entry):
        return Grade(0.0, f"{name}: {said[:60]!r} is not the answer")
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


def _uses_the_numbers(said: str, entry: dict[str, Any]) -> bool:
    return sorted(map(int, re.findall(r"[0-9]{1,9}", said))) == sorted(entry["metadata"]["numbers"])


def _says_it(said: str, entry: dict[str, Any]) -> bool:
    return said.strip().strip(".").lower() == str(entry["answer"]).strip().lower()


def _is_near(said: str, entry: dict[str, Any]) -> bool:
    try:
        right, given = (Fraction(text.replace(",", "").strip()) for text in (str(entry["answer"]), said))
    except (ValueError, ZeroDivisionError):
        return False
    return abs(given - right) <= abs(right) / 1000


def _is_finite(said: str, entry: dict[str, Any]) -> bool:
    return not re.search("nan|inf", said, re.IGNORECASE)


_AND_ALSO: dict[str, Callable[[str, dict[str, Any]], bool]] = {
    "puzzle24": _uses_the_numbers,  # takes any four numbers that make 24
    "game_of_life_halting": _says_it,  # takes any text
    "coin_flip": _is_near,  # takes 0, and whatever is within 1e-4, for a small probability
    "complex_arithmetic": _is_finite,  # takes NaN
}
"""What a completion must also fulfil, of generators whose own score gives wrong answers the full reward."""


@cache
def _scorer(name: str) -> Callable[[str, dict[str, Any]], float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # a dependency's: users can't fix it
        from reasoning_gym import get_score_answer_fn
    guard("reasoning_gym")  # several generators run `eval` on the completion, or on the entry
    scorer: Callable[[str, dict[str, Any]], float] = get_score_answer_fn(name)
    return scorer
