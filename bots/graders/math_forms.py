r"""Answer forms that math-verify lacks: times of day, and solution sets as inequalities or intervals."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import sympy

from bots.graders.math_refute import confirmed, refuted
from bots.graders.math_spelling import usual_intervals

Parse = Callable[[str], Any]
"""From LaTeX to math-verify's result: a list that starts with a sympy value, or an empty one."""

_TIME = re.compile(
    r"(\d{1,2})(?::(\d\d))?(?::(\d\d))?\s*(?:([ap])\s*\.?\s*m\b\.?|(noon|midnight))?(?:\s*o'clock)?"
)
_WRAPPER = re.compile(r"\\(?:text|mathrm|textbf|mbox)\s*\{([^{}]*)\}|\\[,;: !]|[~$]")
_RELATION = re.compile(r"\\(?:leqslant|geqslant|leq?|geq?|lt|gt|neq?)(?![a-zA-Z])|[<>]")
_SIGNS = {
    "leqslant": "<=",
    "leq": "<=",
    "le": "<=",
    "geqslant": ">=",
    "geq": ">=",
    "ge": ">=",
    "lt": "<",
    "gt": ">",
}
_OR = re.compile(r"\\(?:text|mathrm|mbox)\s*\{\s*or\s*\}|\bor\b|\\(?:cup|lor|vee)(?![a-zA-Z])|∪|∨")
_AND = re.compile(r"\\(?:text|mathrm|mbox)\s*\{\s*and\s*\}|\band\b|\\(?:land|wedge)(?![a-zA-Z])|∧")
_INTERVAL = re.compile(r"([\[(])(.*),(.*)([\])])", re.DOTALL)
_MEMBER = re.compile(r"\s*([A-Za-z])\s*(?:\\in(?![a-zA-Z])|∈)(.*)", re.DOTALL)
_REALS = re.compile(r"\s*(?:\\mathbb\s*\{?\s*R\s*\}?|\\R(?![a-zA-Z])|ℝ)\s*")
_PLAIN_SIGNS = {
    "≤": r"\le ",
    "≥": r"\ge ",
    "<=": r"\le ",
    ">=": r"\ge ",
    r"\left": "",
    r"\right": "",
    "−": "-",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
}
_BUILDER = re.compile(
    r"\\?\{\s*([A-Za-z])\s*(?:(?:\\in|∈)\s*(?:\\mathbb\s*\{?\s*R\s*\}?|ℝ)\s*)?(?::|\\colon|\\mid|\\vert|\\;?\||\|)"
    r"\s*(.*?)\s*\\?\}",
    re.DOTALL,
)
_ALL = re.compile(
    r"(?:\\(?:text|mathrm|mbox)\s*\{\s*)?(?:the )?(?:set of )?all real(?:s| numbers)\s*\}?", re.IGNORECASE
)
_WITHOUT = re.compile(r"\\(?:setminus|backslash|smallsetminus)(?![A-Za-z])|(?<=[RℝR}])\s*[-\\]\s*(?=\\?\{)")
_MOST_PIECES = 12
_SIDE = re.compile(r"[-+*/^<>]|\\(?:d?frac|sqrt|cdot|times)")


def same_time(right: str, said: str) -> bool | None:
    """Whether both are the same time of day; None if `right` is not a time, or could be a ratio.

    A missing a.m. or p.m. is forgiven.
    """
    one = _time(right)
    if one is None:
        return None
    other = _time(said)
    if other is not None:
        (clock, half), (given, given_half) = one, other
        same = clock == given if (half is None) == (given_half is None) else clock % 720 == given % 720
        if half is None or given_half is None:  # "22:30" also implies its half of the day
            same = same and (max(clock, given) < 780 or clock == given)
        if same:
            return True
    hours, colon, minutes = _unwrapped(right).partition(":")
    is_ratio = colon and minutes.isdigit() and minutes[0] != "0" and math.gcd(int(hours), int(minutes)) == 1
    return None if is_ratio else False


def _time(text: str) -> tuple[int, str | None] | None:
    """Minutes since midnight and the half of the day, "a" or "p"."""
    found = _TIME.fullmatch(_unwrapped(text))
    if found is None:
        return None
    hour, minute, half = int(found[1]), int(found[2] or 0), found[4]
    if found[5]:
        hour, half = (0 if found[5] == "midnight" else 12), "a" if found[5] == "midnight" else "p"
    elif half is None and found[2] is None:
        return None  # a number
    elif half is not None:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    return (hour * 60 + minute, half) if hour <= 24 and minute < 60 else None


def _unwrapped(text: str) -> str:
    return " ".join(_WRAPPER.sub(r" \1 ", text).lower().split())


def same_solutions(right: str, said: str, parse: Parse) -> bool | None:
    """Whether two sets of real numbers are the same, if one is written with inequalities or as a union.

    None if `right` is not such a set.
    """
    right, said = _signs(right), _signs(said)
    if not any(form.search(right + said) for form in (_RELATION, _OR, _WITHOUT, _REALS)):
        return None
    one = _solutions(right, parse)
    if one is None:
        return None
    other = _solutions(said, parse)
    if other is None:
        return None if _RELATION.search(right) and not _OR.search(right) else False
    (name, values), (given_name, given) = one, other
    if name and given_name and name != given_name:
        return False
    pieces, given_pieces = _pieces(values), _pieces(given)
    return len(pieces) == len(given_pieces) and all(map(_same_piece, pieces, given_pieces))


def one_sided(right: str, said: str) -> bool:
    """Whether one is an equation and the other is not the value of one of its sides: `x+y=1` is not 1, but `x=1` is."""
    sides = [text.split("=") for text in (right, said)]
    if len(sides[0]) == len(sides[1]):
        return False
    return any(len(parts) == 2 and bool(_SIDE.search(parts[0])) for parts in sides)


def _signs(text: str) -> str:
    for sign, latex in _PLAIN_SIGNS.items():
        text = text.replace(sign, latex)
    text = _ALL.sub(r"\\mathbb{R}", text.strip().strip("$").strip())
    if builder := _BUILDER.fullmatch(text):
        text = builder[2] if _RELATION.search(builder[2]) else text
    return usual_intervals(text)


def _solutions(text: str, parse: Parse) -> tuple[str, Any] | None:
    """The variable's name ("" if none is named) and its values."""
    member = _MEMBER.fullmatch(text)
    if member is not None and not _RELATION.search(text):
        inner = _solutions(member[2], parse)
        return None if inner is None else (member[1], inner[1])
    names: set[str] = set()
    whole: Any = sympy.S.EmptySet
    either = _OR.split(text)
    if len(either) > _MOST_PIECES:
        return None
    for option in either:
        part: Any = sympy.S.Reals
        for clause in _AND.split(option):
            found = _clause(clause, parse)
            if found is None:
                return None
            names.add(found[0])
            part = sympy.Intersection(part, found[1])
        whole = sympy.Union(whole, part)
    names.discard("")
    return (names.pop() if names else "", whole) if len(names) <= 1 else None


def _clause(text: str, parse: Parse) -> tuple[str, Any] | None:
    if _REALS.fullmatch(text):
        return "", sympy.S.Reals
    parts = _WITHOUT.split(text)
    if len(parts) == 2:
        whole, points = _clause(parts[0], parse), _points(parts[1], parse)
        if points is None and (found := _interval(parts[1].strip(), parse)) is not None:
            points = found[1]
        return None if whole is None or points is None else (whole[0], sympy.Complement(whole[1], points))
    if (member := _MEMBER.fullmatch(text)) is not None:
        inner = _clause(member[2], parse)
        return None if inner is None else (member[1], inner[1])
    if not (signs := _RELATION.findall(text)):
        return _interval(text.strip(), parse)
    terms = [term.strip() for term in _RELATION.split(text)]
    if len(signs) > 2:
        return None
    place = next((place for place, term in enumerate(terms) if re.fullmatch(r"[A-Za-z]?", term)), None)
    if place is None:
        return None
    values: Any = sympy.S.Reals
    for number, sign in enumerate(signs):
        if number not in (place, place - 1):
            return None
        bound = _number(terms[number + 1] if number == place else terms[number], parse)
        if bound is None:
            return None
        values = sympy.Intersection(values, _ray(sign.lstrip("\\"), bound, reverse=number != place))
    return terms[place], values


def _ray(sign: str, bound: Any, *, reverse: bool) -> Any:
    """The reals x with `x sign bound`, or with `bound sign x`."""
    if sign in ("ne", "neq"):
        return sympy.Complement(sympy.S.Reals, sympy.FiniteSet(bound))
    sign = _SIGNS.get(sign, sign)
    upper = (sign[0] == "<") != reverse
    is_open = len(sign) == 1
    infinity = sympy.S.Infinity
    return (
        sympy.Interval(-infinity, bound, True, is_open)
        if upper
        else sympy.Interval(bound, infinity, is_open, True)
    )


def _interval(text: str, parse: Parse) -> tuple[str, Any] | None:
    found = _INTERVAL.fullmatch(text)
    if found is None or "," in found[2]:
        return None
    ends = [_number(end, parse) for end in (found[2], found[3])]
    if any(end is None for end in ends) or not (
        ends[0] < ends[1] or (ends[0] == ends[1] and text[0] + text[-1] == "[]")
    ):
        return None
    return "", sympy.Interval(*ends, left_open=found[1] == "(", right_open=found[4] == ")")


def _points(text: str, parse: Parse) -> Any:
    r"""The finite set `\{0, 1\}`; None for anything else."""
    found = re.fullmatch(r"\s*\\?\{(.*?)\\?\}\s*", text)
    values = [_number(part, parse) for part in found[1].split(",")] if found else [None]
    return None if None in values else sympy.FiniteSet(*values)


def _number(text: str, parse: Parse) -> Any:
    found = parse(text.strip())
    value = found[0] if found else None
    if not isinstance(value, sympy.Expr) or value.free_symbols or not value.is_extended_real:
        return None
    return value.doit()


def _pieces(values: Any) -> list[Any]:
    parts = values.args if isinstance(values, sympy.Union) else [] if values is sympy.S.EmptySet else [values]
    pieces = []
    for part in parts:
        pieces += list(map(sympy.FiniteSet, part)) if isinstance(part, sympy.FiniteSet) else [part]
    return sorted(pieces, key=lambda piece: (float(piece.inf), float(piece.sup)))


def _same_piece(one: Any, other: Any) -> bool:
    if one == other:
        return True
    if not (isinstance(one, sympy.Interval) and isinstance(other, sympy.Interval)):
        return (
            isinstance(one, sympy.FiniteSet)
            and isinstance(other, sympy.FiniteSet)
            and confirmed(one.inf, other.inf)
        )
    ends = (one.left_open, one.right_open) == (other.left_open, other.right_open)
    return bool(ends) and _same_end(one.start, other.start) and _same_end(one.end, other.end)


def _same_end(one: Any, other: Any) -> bool:
    if one == other or not (one.is_finite and other.is_finite):
        return bool(one == other)
    is_decimal = one.has(sympy.Float) or other.has(sympy.Float)
    return not refuted(one, other) if is_decimal else confirmed(one, other)
