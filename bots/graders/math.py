r"""Mathematical answers, compared as mathematics (math-verify), not as text.

What is compared is the marked answer (`\boxed{}`, `<answer>`, "the answer is …"), or else the last formula
or number. Before math-verify sees it, spellings that it reads wrongly are put right (`1e3`, `1 1/2`,
`sqrt(2)`, plain words). math-verify's own time limits are off, since they need signals and the main thread:
the grading process is bounded from outside, and towers of powers that would take for ever are not evaluated
at all.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

from math_verify import parse, verify

from bots.graders.base import Grade
from bots.graders.exact import plain
from bots.graders.extract import after_thinking, final_answer
from bots.graders.math_text import canonical, choice, is_words, same_base, same_units, too_big

logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it reports every unreadable answer as an error

_FORMULA = re.compile(r"\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NUMBER = re.compile(
    r"(?<![\w.])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?(?:\s*/\s*\d+)?(?:\s*\\?%)?"
    r"|(?<!\w)[-−]?\.\d+"
)
_TAIL = 2000  # characters in which an unmarked answer is looked for
_LONGEST = 400  # characters of an answer, or four times the right one's


def grade(prompt: str, answer: str, completion: str) -> Grade:
    """1 if the completion's final answer is mathematically the same as `answer` (LaTeX or plain), else 0."""
    said = final_answer(completion)
    if said is None:
        said = _last_formula_or_number(after_thinking(completion)[-_TAIL:])
    if not said:
        return Grade(0.0, "no answer")
    if same(answer, said):
        return Grade(1.0, "right")
    return Grade(0.0, f"answered {said[:60]!r}, expected {answer[:60]!r}")


def same(right: str, said: str) -> bool:
    """Whether two written answers are the same.

    `right` decides how it is read: as a choice, words, or mathematics.
    """
    if plain(right) == plain(said):
        return True
    letter = choice(right)
    if letter is not None and len(right.strip()) <= 12:
        return choice(said) == letter
    if len(said) > max(_LONGEST, 4 * len(right)):
        return False
    right_text, said_text = canonical(right), canonical(said)
    if not said_text:
        return False
    if right_text == said_text:
        return same_units(right, said)
    # As formulas, words are products of letters: "listen" would equal "silent".
    if is_words(right_text) or is_words(said_text):
        return plain(right_text) == plain(said_text)
    if too_big(said_text) or too_big(right_text):
        return False
    if not (same_units(right, said) and same_base(right_text, said_text)):
        return False
    if "%" in right_text and "%" not in said_text:
        bare = right_text.replace("\\%", "").replace("%", "").strip()
        if same(bare, said_text):  # asked for percent, a bare number is meant as such
            return True
    expected, given = _parse(right_text), _parse(said_text)
    return bool(expected and given and verify(expected, given, timeout_seconds=None))


@lru_cache(maxsize=4096)  # a task's answer is compared with every sample of its group
def _parse(text: str) -> Any:
    return parse(f"\\boxed{{{text}}}", parsing_timeout=None)


def _last_formula_or_number(text: str) -> str | None:
    found = [(match.end(), next(filter(None, match.groups()), "")) for match in _FORMULA.finditer(text)]
    inside = [match.span() for match in _FORMULA.finditer(text)]
    found += [
        (match.end(), match[0])
        for match in _NUMBER.finditer(text)
        if not any(start <= match.start() < end for start, end in inside)
    ]
    return max(found)[1].strip() if found else None
