r"""Mathematical answers, compared as mathematics (math-verify), not as text.

The marked answer (`\boxed{}`, `<answer>`, "the answer is …") is compared, or else the last formula or number. Spellings
that math-verify misreads (`1e3`, `1 1/2`, `sqrt(2)`, plain words) are corrected first. math-verify's own time limits
are off, since they need signals and the main thread. Instead, the grading process is bounded from outside, and towers
of powers that would take forever are not evaluated at all.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from itertools import pairwise
from typing import Any

import sympy
from math_verify import parse, verify

from bots.graders import base
from bots.graders.base import Grade
from bots.graders.exact import plain
from bots.graders.extract import after_thinking, final_answer
from bots.graders.math_claims import (
    as_points,
    assigned_tuple,
    family,
    in_order,
    one_parameter,
    other_name,
    other_relation,
    other_shape,
    same_congruence,
    same_equality,
    same_numeral,
    without_estimate,
)
from bots.graders.math_forms import one_sided, same_solutions, same_time
from bots.graders.math_refute import confirmed, near, refuted
from bots.graders.math_size import too_big
from bots.graders.math_spelling import binomials
from bots.graders.math_text import (
    by_case,
    canonical,
    choice,
    has_ellipsis,
    is_words,
    same_constant,
    same_text,
    without_gaps,
)
from bots.graders.math_units import TEXT, same_units

logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it logs every unreadable answer as an error

_FORMULA = re.compile(r"\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NUMBER = re.compile(
    r"(?<![\w.])[-−]?0(?:[xX][0-9A-Fa-f]+|[bB][01]+|[oO][0-7]+)\b"
    r"|(?<![\w.])[-−]?\d+_(?:\d{1,2}\b|\{\d{1,2}\})"
    r"|(?<![\w.])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?(?:\s*/\s*\d+)?(?:\s*\\?%)?"
    r"|(?<!\w)[-−]?\.\d+"
)
_NO_CHOICE = re.compile(r",|=|\\|^\s*[a-z]\s*$")
_TAIL = 2000  # characters at the end in which an unmarked answer is searched
_COMMAND = re.compile(r"\\[A-Za-z]+")
_MOST_SIDES = 6
_LONGEST = 400  # maximum length of an answer in characters, or four times the right one's


def grade(prompt: str, answer: str, completion: str) -> Grade:
    """1 if the completion's final answer is mathematically the same as `answer` (LaTeX or plain), else 0."""
    said = final_answer(completion)
    if said is None:
        said = _last_formula_or_number(after_thinking(completion)[-_TAIL:])
    if not said:
        return Grade(0.0, "no answer")
    if same_text(answer, said):
        return Grade(1.0, "right")
    gold = canonical(answer)
    if not (is_words(gold) or too_big(gold)):
        _parse(assigned_tuple(gold)[1])
    base.on_answer_read()
    if same(answer, said):
        return Grade(1.0, "right")
    return Grade(0.0, f"answered {said[:60]!r}, expected {answer[:60]!r}")


def same(right: str, said: str) -> bool:
    """Whether two written answers are the same.

    `right` decides how they are read: as a choice, words, or mathematics.
    """
    if same_text(right, said):
        return True
    letter = choice(right)
    # "(a,b)=(1,2)" and the imaginary unit start like a choice.
    if letter is not None and len(right.strip()) <= 12 and not _NO_CHOICE.search(TEXT.sub(r"\1", right)):
        return choice(said) == letter
    if len(said) > max(_LONGEST, 4 * len(right)):
        return False
    if (verdict := same_time(right, said)) is not None:
        return verdict
    right_text = canonical(right)
    said_text, estimate = without_estimate(binomials(right_text, canonical(said)))
    if not said_text:
        return False
    if other_relation(right_text, said_text) or other_shape(right_text, said_text):
        return False
    for claim in (same_numeral, same_congruence, same_equality):
        if (verdict := claim(right_text, said_text)) is not None:
            return verdict
    right_text = without_estimate(right_text)[0]
    said_text = one_parameter(
        right_text, said_text, (family(right.strip("$ "))[1], family(said.strip("$ "))[1])
    )
    if other_name(right_text, said_text):
        return False
    right_text, said_text = as_points(right_text, said_text)
    right_names, right_text = assigned_tuple(right_text)
    said_names, said_text = assigned_tuple(said_text)
    if right_names and said_names and right_names != said_names:
        return False
    said_text = said_text if said_names else in_order(right_names, said_text)
    comparable = not (too_big(said_text) or too_big(right_text))
    if (
        comparable
        and (verdict := same_solutions(right, said, lambda text: _parse(canonical(text)))) is not None
    ):
        return verdict
    stated, said_text = said_text, _result(said_text) if "=" not in right_text else said_text
    if right_text == said_text:
        return same_units(right, said) and _consistent(stated, estimate)
    # As a formula, a word is a product of letters: "listen" would equal "silent".
    if is_words(right_text) or is_words(said_text):
        return plain(right_text) == plain(said_text)
    if not comparable:
        return False
    return _same_value(right, said, right_text, said_text) and _consistent(stated, estimate)


def _same_value(right: str, said: str, right_text: str, said_text: str) -> bool:
    """Whether two texts in LaTeX have the same value; `right` and `said` are the answers as they were written."""
    if one_sided(right_text, said_text):
        return False
    told_apart = by_case(right_text, same_constant(right_text, said_text))
    if told_apart is None:
        return False
    right_text, said_text = told_apart
    if not same_units(right, said):
        return False
    if "%" in right_text and "%" not in said_text:
        bare = right_text.replace("\\%", "").replace("%", "").strip()
        if same(bare, said_text):  # if a percentage is asked for, a bare number means percent
            return True
    if has_ellipsis(right_text) or has_ellipsis(said_text):
        return without_gaps(right_text) == without_gaps(said_text)  # omitted parts can't be compared
    expected, given = _parse(right_text), _parse(said_text)
    if not (expected and given):
        return False
    if not verify(expected, given, timeout_seconds=None):
        return confirmed(unassigned(expected[0]), unassigned(given[0]))
    percent = "%" in right_text or "%" in said_text  # math-verify compares percentages in its own way
    return percent or not refuted(unassigned(expected[0]), unassigned(given[0]))


def _result(said: str) -> str:
    """The last side of a calculation without variables: `10+2=12` is 12."""
    sides = said.split("=")
    return (
        sides[-1].strip()
        if not re.search(r"[A-Za-z]", "".join(_COMMAND.sub("", side) for side in sides))
        else said
    )


def _consistent(said: str, estimate: str | None) -> bool:
    """Whether the sides of `10+2=12` agree, and those of `12 \\approx 12.1`: 13=12 says two things."""
    sides = said.split("=")
    if len(sides) > _MOST_SIDES:
        return False
    values = (
        [found[0] if (found := _parse(side.strip())) else None for side in sides] if len(sides) > 1 else []
    )
    known = [value for value in values if isinstance(value, sympy.Expr) and not value.free_symbols]
    if any(refuted(one, other) for one, other in pairwise(known)):
        return False
    return estimate is None or near(_parse(sides[-1].strip()), _parse(estimate))


def unassigned(value: Any) -> Any:
    """The right-hand side of `x = 5`; anything else unchanged."""
    is_assignment = isinstance(value, sympy.Eq) and value.lhs.is_Symbol
    return value.rhs if is_assignment else value


# math-verify reads `e` and `i` sometimes as constants, sometimes as variables, real or not.
_CONSTANTS = {"e": sympy.E, "i": sympy.I}


def warm() -> None:
    """Pay the cost of the first comparison (parser tables, sympy's caches) now, before the first grade."""
    for right, said in (
        (r"\frac{1}{2}", "0.5"),
        (r"\sqrt{2}+x", "x+2^{1/2}"),
        (r"\{1,2\}", "(1,2)"),
        ("[0,1)", "0\\leq x<1"),
    ):
        same(right, said)


@lru_cache(maxsize=4096)  # a task's answer is compared with every sample of its group
def _parse(text: str) -> Any:
    found = parse(f"\\boxed{{{text}}}", parsing_timeout=None)
    return [_with_constants(one) if isinstance(one, sympy.Basic) else one for one in found]


def _with_constants(value: sympy.Basic) -> sympy.Basic:
    named = {symbol: _CONSTANTS[symbol.name] for symbol in value.free_symbols if symbol.name in _CONSTANTS}
    return value.xreplace(named) if named else value


def _last_formula_or_number(text: str) -> str | None:
    found = [(match.end(), next(filter(None, match.groups()), "")) for match in _FORMULA.finditer(text)]
    inside = [match.span() for match in _FORMULA.finditer(text)]
    found += [
        (match.end(), match[0])
        for match in _NUMBER.finditer(text)
        if not any(start <= match.start() < end for start, end in inside)
    ]
    return max(found)[1].strip() if found else None
