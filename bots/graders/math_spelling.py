r"""LaTeX that math-verify can't read, or misreads, in a spelling that it reads: `\log_e`, `\frac\pi6`, `]0,1[`, …"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction

_GREEK = r"\\(?:pi|theta|alpha|beta|gamma|lambda|mu|phi|varphi|omega|sigma|infty)(?![A-Za-z])"
_ONE = rf"(?:\d|[A-Za-z]|{_GREEK})"
_REWRITES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        # Invisible, or about the look alone.
        (r"\\(?:h|v)?phantom\s*\{[^{}]*\}|\\[hv]space\*?\s*\{[^{}]*\}|\\(?:math)?strut(?![A-Za-z])", " "),
        (r"\\(?:tiny|small|normalsize|[lL]arge|LARGE|[hH]uge|bf|rm|it|limits|nolimits)(?![A-Za-z])", " "),
        (r"\\boldsymbol\s*\{([^{}]*)\}", r"\1"),
        (r"\\(?:checkmark|blacksquare|square|qed)\s*$", ""),
        (r"\\[lr]brace(?![A-Za-z])", lambda match: r"\{" if match[0][1] == "l" else r"\}"),
        (r"\\[lr]?vert(?![A-Za-z])", "|"),
        (r"\\colon(?![A-Za-z])", ":"),
        (r"\\mathbb\s*([A-Z])", r"\\mathbb{\1}"),
        # Arguments without braces.
        (r"\\(?:nicefrac|sfrac)(?![A-Za-z])", r"\\frac"),
        (rf"\\frac\s*({_GREEK})\s*({_ONE}|\{{[^{{}}]*\}})", r"\\frac{\1}{\2}"),
        (rf"\\frac\s*(\d|[A-Za-z]|\{{[^{{}}]*\}})\s*({_GREEK})", r"\\frac{\1}{\2}"),
        (rf"\\sqrt\s*(\[[^\[\]]*\])\s*({_ONE})", r"\\sqrt\1{\2}"),
        (rf"\\sqrt\s*({_GREEK})", r"\\sqrt{\1}"),
        (r"\\sqrt\s*\[\s*([3579])\s*\]\s*\{\s*-\s*(\d+)\s*\}", r"(-\\sqrt[\1]{\2})"),
        (r"\{\s*([^{}]*?)\s*\\choose(?![A-Za-z])\s*([^{}]*?)\s*\}", r"\\binom{\1}{\2}"),
        (r"^\s*([^{}\\,]+?)\s*\\choose(?![A-Za-z])\s*([^{}\\,]+?)\s*$", r"\\binom{\1}{\2}"),
        (r"(?<![\w})/.])(\d{1,9})/(\d{1,9})\s+(?=[a-z\\(])", r"\\frac{\1}{\2} "),
        # Matrices: round, square and curly brackets are one thing; bars are not.
        (r"\\(begin|end)\s*\{(?:Bmatrix|[pbB]smallmatrix\*?|[pbB]matrix\*)\}", r"\\\1{pmatrix}"),
        (r"\\(begin|end)\s*\{(?:small)?matrix\*?\}", r"\\\1{matrix}"),
        (r"(\\begin\s*\{[pb]?matrix\})\s*\[[lcr]\]", r"\1"),
        # Logarithms.
        (r"\\mathop\s*\{\s*\\?([a-z]+)\s*\}", r"\\\1 "),
        (r"\\log\s*_\s*(?:\{\s*e\s*\}|e(?![A-Za-z]))", r"\\ln "),
        (r"\\lg(?![A-Za-z])", r"\\log_{10} "),
        # Numbers.
        (r"^\s*(?:USD|US\$|EUR|GBP|CNY|RMB|INR|Rs\.?)\s*(?=[\d.])", ""),
        (r"(?<=\d)\s*[xX]\s*10\s*\^", r" \\times 10^"),
        (r"\^\s*([-+]\d+)", r"^{\1}"),
        (r"\\degree(?![A-Za-z])", r"^\\circ "),
        (r"(?<![\d.])(\d{1,3})((?:['\u2019]\d{3})+)(?!\d)", lambda m: m[1] + re.sub(r"\D", "", m[2])),
    )
)
_REPEATING = re.compile(
    r"(?<![\d\w])(\d{0,9})\.(\d{0,9})\\(?:overline|bar|dot)\s*(?:\{\s*(\d{1,9})\s*\}|(\d))(?:(\d{0,9})\\dot\s*\{?(\d)\}?)?"
)
_PERIOD = re.compile(r"(?<![\w.)}])(\d{1,9})\.\((\d{1,9})\)(?![\w.^(])")
_COMMON = re.compile(
    r"\\?(?:(?:operatorname|text|mathrm)\s*\{\s*)?(?<![A-Za-z])(lcm|gcd)\s*\}?\s*\(\s*(\d{1,9}(?:\s*,\s*\d{1,9}){1,5})\s*\)"
)
_CHOOSE = tuple(
    re.compile(rf"(?<![\w\\}}]){form}(?![\w^(])")
    for n, k in [(r"\{?\s*(?P<n>\d{1,6})\s*\}?", r"\{?\s*(?P<k>\d{1,6})\s*\}?")]
    for form in (
        r"C\s*\(\s*(?P<n>\d{1,6})\s*,\s*(?P<k>\d{1,6})\s*\)",
        rf"C\s*_\s*{n}\s*\^\s*{k}",
        rf"C\s*\^\s*{k}\s*_\s*{n}",
        rf"(?:\{{\s*\}}\s*)?[_^]\s*{n}\s*C\s*_\s*{k}",
    )
)
_SEMICOLON = re.compile(r"([\[(\]])\s*([^;,\[\]()]+?)\s*(?<!\\);\s*([^;,\[\]()]+?)\s*([\])\[])")
_DECIMAL_POWER = re.compile(r"\^\s*\{\s*(-?\d*\.\d{1,9})\s*\}|\^\s*(\d*\.\d{1,9})")
_TRIGONOMETRIC = re.compile(r"\\?(?<![a-z])(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])(?!\s*\^\s*\{?\s*-)")
_DEGREES = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*\^\s*\{?\s*\\circ\s*\}?")
_FRENCH_END = r"[^,\[\]()]*"
_FRENCH = re.compile(rf"(?<![\w)}}\]])([\[\]])({_FRENCH_END}),({_FRENCH_END})([\[\]])")
_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![A-Za-z])")
_EITHER_SIGN = re.compile(r"[^=]*\w[^=]*\\(?:pm|mp)(?![A-Za-z])|\\frac")
_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {word: number for number, word in enumerate(_ONES)}
for _high, _tens in enumerate(_TENS, 2):
    _WORDS |= {_tens: 10 * _high}
    _WORDS |= {
        f"{_tens}{gap}{one}": 10 * _high + low for low, one in enumerate(_ONES[1:10], 1) for gap in "- "
    }
for _round, _size in (("hundred", 100), ("thousand", 1000), ("million", 10**6)):
    _WORDS |= {f"{word} {_round}": _size * number for number, word in enumerate(_ONES[1:10], 1)}
    _WORDS[f"a {_round}"] = _size


def number_word(text: str) -> str | None:
    """The digits of a number in words: up to ninety-nine, and round hundreds, thousands and millions; else None."""
    found = _WORDS.get(" ".join(text.lower().split()))
    return None if found is None else str(found)


def respelled(text: str) -> str:
    """A formula in LaTeX in the spelling that math-verify reads."""
    for pattern, new in _REWRITES:
        text = pattern.sub(new, text)
    text = _PERIOD.sub(
        lambda match: _repeating_decimal(match[1], "", match[2]), _REPEATING.sub(_repeating, text)
    )
    text = _COMMON.sub(_common, text)
    text = _DECIMAL_POWER.sub(lambda match: f"^{{{_fraction(match[1] or match[2])}}}", text)
    if _TRIGONOMETRIC.search(text):
        text = _DEGREES.sub(lambda match: _radians(match[1]), text)
    return _both_signs(text)


def _repeating(match: re.Match[str]) -> str:
    whole, fixed, period, digit, middle, last = match.groups()
    if period is None:
        period = digit
    if last is not None:  # a dot over the first and the last digit of the period
        period += middle + last
    elif middle:
        return match[0]
    return _repeating_decimal(whole, fixed, period)


def _repeating_decimal(whole: str, fixed: str, period: str) -> str:
    digits = int((whole + fixed + period) or 0) - int((whole + fixed) or 0)
    return f"\\frac{{{digits}}}{{{(10 ** len(period) - 1) * 10 ** len(fixed)}}}"


def _fraction(decimal: str) -> str:
    value = Fraction(decimal)
    return f"{value.numerator}/{value.denominator}" if value.denominator > 1 else str(value.numerator)


def _radians(degrees: str) -> str:
    value = Fraction(degrees) / 180
    return f"\\frac{{{value.numerator}\\pi}}{{{value.denominator}}}"


def _common(match: re.Match[str]) -> str:
    numbers = [int(number) for number in match[2].split(",")]
    return str(math.lcm(*numbers) if match[1] == "lcm" else math.gcd(*numbers))


def binomials(right: str, said: str) -> str:
    """`said` with C(10,3), C_{10}^{3} and {}_{10}C_3 as binomials, where the right answer is a number, not a point."""
    if not re.fullmatch(r"\d[\d,]*|\\binom\s*\{\d+\}\s*\{\d+\}", right):
        return said
    for form in _CHOOSE:
        said = form.sub(lambda match: f"\\binom{{{match['n']}}}{{{match['k']}}}", said)
    return said


def usual_intervals(text: str) -> str:
    """`]0,1[`, `[0,1[` and `[0;1]` in the usual spelling, (0,1), [0,1) and [0,1]."""
    return _FRENCH.sub(_usual, _SEMICOLON.sub(_with_comma, text))


def _with_comma(match: re.Match[str]) -> str:
    if re.search(r"[\d.]\s+[-\d.]", f"{match[2]} | {match[3]}"):  # rows of a matrix
        return match[0]
    return f"{match[1]}{match[2]},{match[3]}{match[4]}"


def _usual(match: re.Match[str]) -> str:
    if (match[1], match[4]) == ("[", "]"):
        return match[0]
    return f"{'(' if match[1] == ']' else '['}{match[2]},{match[3]}{')' if match[4] == '[' else ']'}"


def _both_signs(text: str) -> str:
    r"""`\frac{1\pm\sqrt5}{2}` as two values. math-verify reads the sign only where it stands first."""
    if len(_PLUS_MINUS.findall(text)) != 1 or re.search(r"[,<>]|\\(?:text|le|ge|in|cup)", text):
        return text
    if not _EITHER_SIGN.match(text):
        return text
    plus, minus = ("+", "-"), ("-", "+")
    first, second = (
        text.replace(r"\pm", f"{upper} ").replace(r"\mp", f"{lower} ") for upper, lower in (plus, minus)
    )
    return f"{first}, {second}"
