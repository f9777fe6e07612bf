"""Formulas whose evaluation or parsing could take forever: towers of powers, huge factorials, deep nesting."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Huge expansions, and deeply nested functions.
_NESTED = re.compile(
    r"[)}]\s*\^\s*[{(]?\s*\d{3,}|(?:\\(?:tan|sin|cos|cot|exp|ln|log)[\s({]*){4}|\\d?t?binom\s*\{\s*\d{5,}"
)
_HUGE = re.compile(r"\^\s*[{(]?\s*-?\d{5,}|\d{4,}\s*!|!\s*\)*\s*!|!\s*[)}]*\s*\^\s*[{(]?\s*-?\d\d|\d{2000,}")
_EXPONENT = re.compile(r"\s*-?\s*(?:\d+|\\[A-Za-z]+|[^\s{(])?")
_INNER_POWER = re.compile(r"(\d+)?\s*([)}]*)\s*\^\s*[{(]*\s*-?\s*(\d*)")
_LARGEST_EXPONENT = 10**4
_DEEPEST = 24  # levels of nested brackets


def too_big(text: str) -> bool:
    """Whether evaluating this formula in LaTeX, or only parsing it, could take forever."""
    return (
        bool(_HUGE.search(text) or _NESTED.search(text))
        or not _is_shallow(text)
        or any(map(_is_tower, _exponents(text)))
    )


def _is_tower(exponent: str) -> bool:
    """Whether an exponent is itself a large power, a tower or a factorial."""
    if "!" in exponent or exponent.count("^") > 1:
        return True
    inner = _INNER_POWER.search(exponent)
    if inner is None:
        return False
    base, bracket, power = inner.groups()
    if not power or (bracket and any(map(str.isdigit, exponent[: inner.start()]))):
        return len(power) > 1 or bool(base)  # (2x)^2 or x^n is no large number; 9^n may be
    largest: int = int(base or 9) ** min(int(power), 64)
    return largest > _LARGEST_EXPONENT


def _exponents(text: str) -> Iterator[str]:
    """What stands after each `^`, to the end of its brackets, and of the powers right after it: `9^9^9`."""
    for place, char in enumerate(text):
        if char != "^":
            continue
        end = place
        while end < len(text) and text[end] == "^":
            end = _after_exponent(text, end + 1)
            while end < len(text) and text[end] == " ":
                end += 1
        yield text[place + 1 : end]


def _after_exponent(text: str, start: int) -> int:
    while start < len(text) and text[start] == " ":
        start += 1
    if start < len(text) and text[start] in "{(":
        depth = 0
        for place in range(start, len(text)):
            depth += (text[place] in "{(") - (text[place] in "})")
            if depth == 0:
                return place + 1
        return len(text)
    found = _EXPONENT.match(text, start)
    return found.end() if found else start


def _is_shallow(text: str) -> bool:
    """Whether brackets are nested only a few levels deep and braces balanced: parsing time grows fast with both."""
    depth = braces = deepest = 0
    for place, char in enumerate(text):
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
        if char in "{}" and text[place - 1 : place] != "\\":
            braces += 1 if char == "{" else -1
            if braces < 0:
                return False
    return braces == 0 and deepest <= _DEEPEST and text.count("|") <= _DEEPEST
