r"""Questions about tables: FinQA, HiTab and MultiHiertt, as in GURU (`table__finqa`, …).

The answer is a number, a text, or several of them separated by `|`, in any order. Numbers are compared by value,
ignoring commas, currency and percent signs. Integers must be equal. Of other numbers, one may be the other rounded to
fewer decimals, if they differ by at most a thousandth of the right one. Texts must be equal except for case, blanks
and wrappers. A box takes precedence over other marks.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from bots.graders.base import Grade
from bots.graders.exact import plain
from bots.graders.extract import after_thinking, boxed, final_answer, last_line

TOLERANCE = Decimal("1e-3")
"""Relative. Never absolute: .0012 is not .0013."""
_LONGEST = 2_000  # maximum length of an answer, in characters
_TEXT = re.compile(r"\\+(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"(-?)\\[dt]?frac\s*\{(-?[\d,.]{1,30})\}\s*\{([\d,.]{1,30})\}")
_NUMBER = re.compile(
    r"(\(?)([-+]?)(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,3})|\*10\^\{?([+-]?\d{1,3})\}?)?(\)?)"
)
_RATIO = re.compile(r"([-+]?\d{1,30}(?:\.\d{1,30})?)[/:](\d{1,30}(?:\.\d{1,30})?)")
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d,])")
_UNIT = re.compile(
    r"(.*\d)\s*(?:dollars?|usd|percent(?:age points?)?|years?|days?|people|shares?|units?|points?)\.?",
    re.IGNORECASE,
)
_QUESTION = "The question is:"
_PERCENT_ASKED = re.compile(r"percent|%", re.IGNORECASE)
_SIGNIFICANT = 15  # decimal digits that a float always represents correctly


def grade(prompt: str, answer: str, completion: str) -> Grade:
    """1 if the completion gives every part of the answer and nothing else."""
    box = boxed(after_thinking(completion))
    said = final_answer(completion) if box is None else box
    if said is None:
        said = last_line(completion)
    if not said or len(said) > max(_LONGEST, 4 * len(answer)):
        return Grade(0.0, "no answer")
    percent = bool(_PERCENT_ASKED.search(prompt.rpartition(_QUESTION)[2])) if _QUESTION in prompt else False
    right, given = _parts(answer), _parts(said)
    if len(right) == 1 and len(given) > 1 and "|" not in said:
        given = [said]
    if len(right) != len(given):
        return Grade(0.0, f"{len(given)} answers, expected {len(right)}")
    if _matched(right, given, percent):
        return Grade(1.0, "right")
    return Grade(0.0, f"answered {said[:60]!r}, expected {answer[:60]!r}")


def as_completion(answer: str) -> str:
    """The answer in the form that the prompt asks for."""
    return f"\\boxed{{{answer}}}"


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.replace(r"\|", "|").split("|")]


def _matched(right: list[str], given: list[str], percent: bool) -> bool:
    """Whether each right part has its own given part: the first equal one that is still free."""
    left = list(given)
    for part in right:
        place = next((place for place, one in enumerate(left) if _same(part, one, percent)), None)
        if place is None:
            return False
        del left[place]
    return True


def _same(right: str, said: str, percent: bool) -> bool:
    if _text(right) == _text(said):
        return True
    one, other = _number(right), _number(said)
    if one is None or other is None:
        return False
    (value, is_percent), (given, given_percent) = one, other
    if is_percent != given_percent and (percent or given_percent or is_percent):
        # "14.1%" matches .141, and 14.1 in a column of percentages; 14.1 matches .141 if a percentage is asked for.
        return _equal(value, given) or _equal(
            *((value, given / 100) if given_percent else (value / 100, given))
        )
    return _equal(value, given) or (
        percent and not given_percent and _equal(value, given / 100) and abs(value) <= 10
    )


def _text(text: str) -> str:
    return plain(_TEXT.sub(r" \1 ", text).replace("\\", " "))


def _number(text: str) -> tuple[Decimal, bool] | None:
    """A number's value and whether it has a percent sign (which is not divided out); None for a text."""
    text = _TEXT.sub(r" \1 ", text).replace("−", "-").replace("–", "-")
    text = _FRACTION.sub(r"\1\2/\3", text)
    text = text.replace("{,}", ",").replace(r"\times", "*").replace("\\", "").replace("×", "*")
    if unit := _UNIT.fullmatch(text.strip()):
        is_percent = "percent" in text.lower()
        text = unit[1]
    else:
        is_percent = False
    is_percent = is_percent or "%" in text
    text = text.strip().strip("$€£¥% ").replace("-$", "-").replace("($", "(").replace("%)", ")")
    text = _THOUSANDS.sub(
        lambda match: match[0].replace(",", ""), re.sub(r"\s*([*/:^])\s*", r"\1", text)
    ).strip(" ,!")
    try:
        if ratio := _RATIO.fullmatch(text):
            return Decimal(ratio[1]) / Decimal(ratio[2]), is_percent
        found = _NUMBER.fullmatch(text.rstrip("."))
        if found is None or bool(found[1]) != bool(found[6]):
            return None
        sign = -1 if found[2] == "-" or (found[1] and not found[2]) else 1  # (5) means -5 in accounting
        value = Decimal(found[3]).scaleb(int(found[4] or found[5] or 0))
    except (InvalidOperation, ZeroDivisionError, ArithmeticError):
        return None
    return sign * value, is_percent


def _equal(right: Decimal, said: Decimal) -> bool:
    if right == said:
        return True
    if not right or not said or right == int(right):
        return False
    if abs(right - said) > TOLERANCE * abs(right):
        return False
    # Rounding the number with more decimals must give the one with fewer.
    ends = [max(_exponent(value), abs(right).adjusted() + 1 - _SIGNIFICANT) for value in (right, said)]
    return abs(right - said) <= Decimal(5).scaleb(max(ends) - 1)


def _exponent(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return min(exponent, 0) if isinstance(exponent, int) else 0
