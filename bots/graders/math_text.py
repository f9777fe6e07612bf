r"""Spellings of mathematical answers: plain text to LaTeX, units, choices, words."""

from __future__ import annotations

import re
import unicodedata

_SYMBOLS = {
    "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ",
    "√": r"\sqrt",
    "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "±": r"\pm ", "∪": r"\cup ", "∩": r"\cap ",
    "∅": r"\emptyset ",
    "°": r"^\circ ", "θ": r"\theta ", "α": r"\alpha ", "∈": r"\in ", "**": "^", "<=": r"\leq ",
    ">=": r"\geq ",
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\left": "", r"\right": "",
    "€": "", "£": "", "¥": "", r"\langle": "(", r"\rangle": ")",
    "~": " ", "{,}": ",", r"\displaystyle": "",
    r"\ldotp": ".", r"\$": "$",
}  # fmt: skip
_SPACE = re.compile(r"(?<!\\)\\[,;: ]")  # but a matrix ends its rows with two backslashes
_BASE = re.compile(r"[0-9A-F]_\{?(\d+)\}?$")
_SCIENTIFIC = re.compile(r"(?<![A-Za-z\d.])(\d+\.?\d*|\.\d+)[eE]([+-]?\d{1,4})(?![A-Za-z\d])")
_MIXED = re.compile(r"(?<![\d.^/{}])(-?\d+)\s+(\d+)\s*/\s*(\d+)(?![\d/])")
_MIXED_LATEX = re.compile(r"(?<![\d.^/{}])(-?\d+)\s*\\frac\s*\{?(\d+)\}?\s*\{?(\d+)\}?")
_ROOT = re.compile(r"(?<!\\)\bsqrt\s*\(([^()]*)\)")
_ROOT_SYMBOL = re.compile(r"\\sqrt\s*(\d+(?:\.\d+)?|\(([^()]*)\))")
_FUNCTIONS = re.compile(
    r"(?<![\\A-Za-z])(sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|ln|log|exp|pi|theta)(?![A-Za-z])"
)
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox|operatorname)\s*\{([^{}]*)\}")
_COUNTED = re.compile(
    r"\$?\s*(-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s*/\s*\d+)?(?:\s+\d+/\d+)?|-?\\frac\{\d+\}\{\d+\})(\s*)"
    r"([A-Za-z][A-Za-z .^{}23/-]*)"
)
_NOT_UNITS = {"or", "and", "to", "pi", "sqrt", "mod", "log", "ln", "sin", "cos", "tan", "exp", "infty"}
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_NUMBER_WORDS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13",
    "fourteen": "14", "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18",
    "nineteen": "19", "twenty": "20",
}  # fmt: skip
_NOTHING = {
    "no solution",
    "no solutions",
    "empty set",
    "the empty set",
    "no real solution",
    "no real solutions",
}
_INFINITY = re.compile(r"(?<![\\A-Za-z])(?:infinity|infty|inf|oo)(?![A-Za-z])")
_UNDEFINED = {"dne", "does not exist", "undefined", "limit does not exist", "the limit does not exist"}
_EDGES = re.compile(r"^(?:\s|~|(?<!\\)\\[,;:!]|\\q?quad(?![a-z]))+|(?:\s|~|(?<!\\)\\[,;:!]|\\q?quad)+$")
_COLOR = re.compile(r"(?:\\(?:text)?color\s*\{[a-zA-Z]+\}|\\underline)\s*\{([^{}]*)\}")
_UPRIGHT = re.compile(r"\\(?:mathrm|text|operatorname)\s*\{\s*([ei])\s*\}")
_VULGAR = re.compile("[¼½¾⅐-⅞]")
_GAP = re.compile(r"\\[,;: ]|[~ ]")
_THOUSANDS = re.compile(r"(?<![\d.,\\])[1-9]\d{0,2}(?:(?:\\[,;: ]|~| )\d{3})+(?![\d/])")
_REPEATING = re.compile(r"(?<!\d)(\d{1,9})\.(\d{0,9})\\overline\s*\{(\d{1,9})\}")
_WHOLE_NUMBER = re.compile(r",\s*[a-z]\s*\\in\s*\\(?:mathbb|mathbf)\s*\{?\s*Z\s*\}?$")
_ASSIGNED = re.compile(r"(\(\s*[A-Za-z]\w?(?:\s*,\s*[A-Za-z]\w?)+\s*\))\s*=\s*(\(.*\))")
_ELLIPSIS = re.compile(r"\\[lcd]?dots|…|\.\.\.")
_UNITS = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "m": "meter metre",
    "km": "kilometer kilometre",
    "in": "inch inche", "ft": "foot feet", "yd": "yard", "mi": "mile", "g": "gram", "kg": "kilogram",
    "mg": "milligram",
    "lb": "pound", "oz": "ounce", "s": "sec second", "min": "minute", "h": "hr hour", "day": "day",
    "wk": "week",
    "yr": "year", "l": "liter litre", "ml": "milliliter millilitre", "dollar": "usd",
    "cent": "penny pennie", "mph": "",
    "degree": "deg",
}  # fmt: skip
_UNIT_NAMES = {name: unit for unit, names in _UNITS.items() for name in (unit, *names.split())}
_CHOICE = re.compile(r"^\(?([A-Ja-j])\)?(?:$|[.):,]\s*|\s*\))")
# Huge expansions, and functions of functions of functions.
_NESTED = re.compile(
    r"\)\s*\^\s*\{?\s*\d{3,}|(?:\\(?:tan|sin|cos|cot|exp|ln|log)[\s({]*){4}|\\d?t?binom\s*\{\s*\d{5,}"
)
_POWERS = re.compile(r"\^\s*[{(]*\s*(\d{1,9})\s*\^\s*[{(]*\s*(\d{1,9})")
_TOWER = re.compile(
    r"\^\s*[{(]?\s*-?\d{5,}|\^\s*[{(]*[^{}()]*\^\s*[{(]*[^{}()]*\d\d|\^[^^]*\^[^^]*\^"
    r"|\d{4,}\s*!|!\s*\)*\s*!|!.*\^|\^.*!|\d{2000,}"
)


def canonical(text: str) -> str:
    """`text` in the LaTeX that math-verify reads right:

    one spelling for numbers, roots, functions and units.
    """
    text = unicodedata.normalize("NFC", text).strip()
    text = _trim(_unwrap(_trim(text)))
    text = _COLOR.sub(r"\1", text)
    text = _UPRIGHT.sub(r"\1", text)
    text = _VULGAR.sub(_vulgar, text)
    text = _THOUSANDS.sub(lambda match: _GAP.sub("", match[0]), text)
    text = _REPEATING.sub(_repeating, text)
    text = _WHOLE_NUMBER.sub("", text)
    text = _SPACE.sub(" ", text.replace("\\!", ""))
    for symbol, latex in _SYMBOLS.items():
        text = text.replace(symbol, latex)
    text = _TEXT.sub(lambda match: f" {match[1].strip()} ", text).strip()
    text = _unwrap(re.sub(r"[ \t\n]+", " ", text))
    bare = text.lower().rstrip(".")
    if bare in _NUMBER_WORDS:
        return _NUMBER_WORDS[bare]
    if bare in _UNDEFINED:
        return r"\text{does not exist}"
    if bare in _NOTHING:
        return r"\emptyset"
    text = re.sub(r"\s*,?\s+(?:and|or)\s+", ", ", text)
    text = _drop_unit(text)
    text = _SCIENTIFIC.sub(lambda m: f"{m[1]} \\times 10^{{{int(m[2])}}}", text)
    text = _MIXED.sub(_mixed, text)
    text = _MIXED_LATEX.sub(_mixed, text)
    for pattern in (_ROOT, _ROOT, _ROOT_SYMBOL):
        text = pattern.sub(lambda m: f"\\sqrt{{{m[m.lastindex or 1]}}}", text)
    text = _INFINITY.sub(r"\\infty ", text)
    text = _FUNCTIONS.sub(r"\\\1 ", text)
    return re.sub(r" +", " ", text).strip()


def _trim(text: str) -> str:
    """Without LaTeX spacing at either end; a lone backslash is what a stripped `\\ ` leaves behind."""
    return re.sub(r"(?<!\\)\\$", "", _EDGES.sub("", text)).strip()


def _vulgar(match: re.Match[str]) -> str:
    top, bottom = unicodedata.normalize("NFKC", match[0]).split("\u2044")
    return f" {top}/{bottom}"


def _repeating(match: re.Match[str]) -> str:
    whole, fixed, period = match.groups()
    digits = int(whole + fixed + period) - int(whole + fixed)
    return f"\\frac{{{digits}}}{{{(10 ** len(period) - 1) * 10 ** len(fixed)}}}"


def assigned_tuple(text: str) -> tuple[str, str]:
    """`(a,b)=(1,2)` as its names and its values; other texts with no names."""
    found = _ASSIGNED.fullmatch(text)
    return ("".join(found[1].split()), found[2]) if found else ("", text)


def has_ellipsis(text: str) -> bool:
    """Whether something is left out in it, so that it can be compared as text only."""
    return bool(_ELLIPSIS.search(text))


def is_words(text: str) -> bool:
    """Whether this is prose (a name, a weekday, "even") and not a product of variables."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"\\[A-Za-z]+", " ", text))
    if not words or re.search(r"[=+*/^<>{}]", text):
        return False
    letters = sum(map(len, words))
    return any(len(word) >= 3 for word in words) and letters >= 0.6 * len(re.sub(r"\s", "", text))


def choice(text: str) -> str | None:
    """The letter of a multiple choice answer: B, (B), B), "B. 12"; else None."""
    text = _TEXT.sub(r"\1", text.strip().strip("$")).strip()
    found = _CHOICE.match(text)
    return found[1].upper() if found else None


def same_units(one: str, other: str) -> bool:
    """False if both name a unit of measure and not the same; a missing one is forgiven."""
    first, second = _unit(one), _unit(other)
    return first is None or second is None or first == second


def same_base(one: str, other: str) -> bool:
    """False if both are numbers with a base as a subscript, and not the same base."""
    first, second = _BASE.search(one), _BASE.search(other)
    return first is None or second is None or first[1] == second[1]


def too_big(text: str) -> bool:
    """Whether to evaluate this could take for ever: towers of powers, huge exponents and factorials."""
    if _TOWER.search(text) or _NESTED.search(text):
        return True
    return any(int(found[1]) ** min(int(found[2]), 64) > 10**4 for found in _POWERS.finditer(text))


def _unwrap(text: str) -> str:
    before = None
    while before != text:
        before = text
        text = text.strip().removesuffix(",").removesuffix(";").strip()
        if re.search(r"[^.]\.$", text):
            text = text[:-1]
        for start, end in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**")):
            inner = text[len(start) : len(text) - len(end)]
            if (
                text.startswith(start)
                and text.endswith(end)
                and len(text) > len(start + end)
                and start not in inner
            ):
                text = inner
    return text


def _drop_unit(text: str) -> str:
    """Without what is counted or measured: "18 apples", "5cm^2", "$5"; "3 million" becomes a power of ten."""
    found = _COUNTED.fullmatch(text)
    if found is None:
        return text.removeprefix("$") if re.fullmatch(r"\$\s*-?[\d,.]+", text) else text
    number, blank, words = found.groups()
    first = re.split(r"[ /^.]", words.lower())[0]
    if first in _SCALES:
        return f"{number} \\times 10^{{{_SCALES[first]}}}"
    counted = blank != "" and len(first) >= 3 and first not in _NOT_UNITS  # "7abc" is a product
    return number if counted or _base_unit(first) else text


def _unit(text: str) -> str | None:
    text = _TEXT.sub(lambda match: f" {match[1].strip()} ", text.strip().strip("$"))
    found = re.search(r"[\d})]\s*([A-Za-z]+)\.?\s*(\^?\s*\{?[23]?\}?)\s*$", text)
    if found is None:
        return None
    unit = _base_unit(found[1])
    return unit + re.sub(r"\D", "", found[2]) if unit else None


def _base_unit(word: str) -> str | None:
    word = word.lower()
    return (
        _UNIT_NAMES.get(word)
        or _UNIT_NAMES.get(word.removesuffix("s"))
        or _UNIT_NAMES.get(word.removesuffix("es"))
    )


def _mixed(match: re.Match[str]) -> str:
    whole, top, bottom = match.groups()
    sign = "-" if whole.startswith("-") else ""
    return f"{sign}\\frac{{{abs(int(whole)) * int(bottom) + int(top)}}}{{{bottom}}}"
