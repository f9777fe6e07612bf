r"""Spellings of mathematical answers: plain text to LaTeX, units, choices, words."""

from __future__ import annotations

import re
import unicodedata

from bots.graders.exact import plain
from bots.graders.math_claims import family
from bots.graders.math_spelling import number_word, respelled, usual_intervals
from bots.graders.math_units import TEXT, drop_text_unit, drop_unit

_SYMBOLS = {
    "−": "-", "–": "-", "‐": "-", "‒": "-", "×": r"\times ", "·": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ",
    "√": r"\sqrt",
    "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "±": r"\pm ", "∪": r"\cup ", "∩": r"\cap ",
    "∅": r"\emptyset ", r"\varnothing": r"\emptyset",
    "°": r"^\circ ", "θ": r"\theta ", "α": r"\alpha ", "∈": r"\in ", "**": "^", "<=": r"\leq ",
    ">=": r"\geq ",
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\left": "", r"\right": "",
    "€": "", "£": "", "¥": "", r"\langle": "(", r"\rangle": ")",
    "~": " ", "{,}": ",", r"\displaystyle": "",
    r"\ldotp": ".", r"\$": "$",
}  # fmt: skip
_SPACE = re.compile(r"(?<!\\)\\[,;: ]")  # a matrix ends its rows with two backslashes
_SCIENTIFIC = re.compile(r"(?<![A-Za-z\d.])(\d+\.?\d*|\.\d+)[eE]([+-]?\d{1,4})(?![A-Za-z\d])")
_MIXED = re.compile(r"(?<![\d.^/{}_])(-?\d+)\s+(\d+)\s*/\s*(\d+)(?![\d/])")
_MIXED_LATEX = re.compile(r"(?<![\d.^/{}_])(-?\d+)\s*\\frac\s*\{?(\d+)\}?\s*\{?(\d+)\}?")
_ROOT = re.compile(r"(?<!\\)\bsqrt\s*\(([^()]*)\)")
_ROOT_SYMBOL = re.compile(r"\\sqrt\s*(\d+(?:\.\d+)?|\(([^()]*)\))")
_FUNCTIONS = re.compile(
    r"(?<![\\A-Za-z])(sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|ln|log|exp|pi|theta)(?![A-Za-z])"
)
_NOTHING = {
    "no solution",
    "no solutions",
    "empty set",
    "the empty set",
    "no real solution",
    "no real solutions",
}
_EVERYTHING = {
    "all real numbers",
    "all reals",
    "all real x",
    "the real numbers",
    "the set of all real numbers",
}
_INFINITY = re.compile(r"(?<![\\A-Za-z])(?:infinity|infty|inf|oo)(?![A-Za-z])")
_SHORT_WORDS = {"yes", "no", "a.m.", "p.m.", "am", "pm"}
_UNDEFINED = {"dne", "does not exist", "undefined", "limit does not exist", "the limit does not exist"}
_EDGES = re.compile(r"^(?:\s|~|(?<!\\)\\[,;:!]|\\q?quad(?![a-z]))+|(?:\s|~|(?<!\\)\\[,;:!]|\\q?quad)+$")
_COLOR = re.compile(
    r"(?:\\(?:text)?color(?:box)?\s*\{[a-zA-Z]+\}|\\(?:underline|math(?:it|sf|tt|normal)|bm))\s*\{([^{}]*)\}"
)
_COLOR_SWITCH = re.compile(r"\\color\s*\{[a-zA-Z]+\}(?!\s*\{)")
_ROW_GAP = re.compile(r"\\\\\s*\[\s*-?[\d.]+\s*[a-z]{2}\s*\]")
_RAISED, _LOWERED = re.compile("[²³¹⁰⁴-ⁿ]+"), re.compile("[₀-₎]+")
_UPRIGHT = re.compile(r"\\(?:mathrm|text|operatorname)\s*\{\s*([ei])\s*\}")
_VULGAR = re.compile("[¼½¾⅐-⅞]")
_GAP = re.compile(r"\\[,;: ]|[~ ]")
_THOUSANDS = re.compile(r"(?<![\d.,\\])[1-9]\d{0,2}(?:(?:\\[,;: ]|~| )\d{3})+(?![\d/])")
# The group is a letter outside a command.
_LETTER = re.compile(r"\\[A-Za-z]+|([A-Za-z])")
_ELLIPSIS = re.compile(r"\\[lcd]?dots|…|\.\.\.")
_CHOICE = re.compile(
    r"\(?([A-Ja-j])(?:\)|\s*\))?(?:[.:)]?\s*|[.:)]\s*(\S.*))|\(([A-J])\)\s+(\S.*)", re.DOTALL
)
# An article is not a choice's letter: "B. A circle".
_ANOTHER = re.compile(r"\b(?:[B-J]\b|A\b(?! [a-z]{2})|or\b)")


def canonical(text: str) -> str:
    """`text` in LaTeX that math-verify reads correctly, with one spelling for numbers, roots, functions and units."""
    text = usual_intervals(unicodedata.normalize("NFC", text).strip())
    text = _trim(_unwrap(_trim(text)))
    text = _COLOR_SWITCH.sub("", _ROW_GAP.sub(r"\\\\", text))
    text = _COLOR.sub(r"\1", _COLOR.sub(r"\1", text))
    text = _unbraced(text)
    text = _RAISED.sub(lambda match: f"^{{{_on_the_line(match[0])}}}", text)
    text = _LOWERED.sub(lambda match: f"_{{{_on_the_line(match[0])}}}", text)
    text = drop_text_unit(text)
    text = _UPRIGHT.sub(r"\1", text)
    text = _VULGAR.sub(_vulgar, text)
    text = _THOUSANDS.sub(lambda match: _GAP.sub("", match[0]), text)
    text = family(text)[0]
    text = _SPACE.sub(" ", text.replace("\\!", ""))
    for symbol, latex in _SYMBOLS.items():
        text = text.replace(symbol, latex)
    for _ in range(2):  # \mathbf{\text{5}}
        text = TEXT.sub(lambda match: f" {match[1].strip()} ", text).strip()
    text = _unbraced(_unwrap(re.sub(r"[ \t\n]+", " ", respelled(text))))
    bare = text.lower().rstrip(".")
    if (number := number_word(bare)) is not None:
        return number
    if bare in _EVERYTHING:
        return r"\mathbb{R}"
    if bare in _UNDEFINED:
        return r"\text{does not exist}"
    if bare in _NOTHING:
        return r"\emptyset"
    text = re.sub(r"\s*,?\s+(?:and|or)\s+", ", ", text)
    text = drop_unit(text)
    text = _SCIENTIFIC.sub(lambda m: f"{m[1]} \\times 10^{{{int(m[2])}}}", text)
    text = _MIXED.sub(_mixed, text)
    text = _MIXED_LATEX.sub(_mixed, text)
    for pattern in (_ROOT, _ROOT, _ROOT_SYMBOL):
        text = pattern.sub(lambda m: f"\\sqrt{{{m[m.lastindex or 1]}}}", text)
    text = _INFINITY.sub(r"\\infty ", text)
    text = _FUNCTIONS.sub(r"\\\1 ", text)
    return re.sub(r" +", " ", text).strip()


def _trim(text: str) -> str:
    """Strip LaTeX spacing at both ends; a lone backslash is the remainder of a stripped `\\ `."""
    return re.sub(r"(?<!\\)\\$", "", _EDGES.sub("", text)).strip()


def _unbraced(text: str) -> str:
    whole = text.startswith("{") and text.endswith("}") and text.count("{") == 1
    return text[1:-1].strip() if whole else text


def _on_the_line(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("−", "-")


def _vulgar(match: re.Match[str]) -> str:
    top, bottom = unicodedata.normalize("NFKC", match[0]).split("\u2044")
    return f" {top}/{bottom}"


def by_case(one: str, other: str) -> tuple[str, str] | None:
    """Both formulas with R and r kept apart, which math-verify takes for one variable; None if their letters differ.

    If a capital and its small letter both appear, the capital becomes a letter that neither formula uses.
    """
    letters, others = _letters(one), _letters(other)
    for letter in {letter.lower() for letter in letters} & {letter.lower() for letter in others}:
        both = {letter, letter.upper()}
        if letters & both != others & both:
            return None
        if both <= letters:
            free = next(
                (spare for spare in "qwzvukjhgs" if not {spare, spare.upper()} & (letters | others)), "q"
            )
            one, other = (_respell(text, letter.upper(), free) for text in (one, other))
            letters, others = _letters(one), _letters(other)
    return one, other


def same_constant(right: str, said: str) -> str:
    """`said` with the constant of integration named as in `right`: x^2 + c for x^2 + C."""
    is_other = right.endswith("C") and re.search(r"\+\s*[cKk]$", said) and re.search(r"\+\s*C$", right)
    return f"{said[:-1]}C" if is_other and "C" not in said and said[-1] not in _letters(said[:-1]) else said


def _letters(text: str) -> set[str]:
    return set(_LETTER.findall(text)) - {""}


def _respell(text: str, letter: str, spare: str) -> str:
    return _LETTER.sub(lambda match: spare if match[1] == letter else match[0], text)


def has_ellipsis(text: str) -> bool:
    """Whether it leaves something out, so that it can only be compared as text."""
    return bool(_ELLIPSIS.search(text))


def is_words(text: str) -> bool:
    """Whether this is prose (a name, a weekday, "even") and not a product of variables."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"\\[A-Za-z]+", " ", text))
    if not words or re.search(r"[=+*/^<>{}]", text):
        return False
    letters = sum(map(len, words))
    return any(len(word) >= 3 for word in words) and letters >= 0.6 * len(re.sub(r"\s", "", text))


def choice(text: str) -> str | None:
    """The letter of a multiple-choice answer: B, (B), B), "B. 12"; else None."""
    text = TEXT.sub(r"\1", text.strip().strip("$")).strip()
    found = _CHOICE.fullmatch(text)
    if found is None or _ANOTHER.search(found[2] or found[4] or ""):
        return None
    letter: str = found[1] or found[3]
    return letter.upper()


def same_text(right: str, said: str) -> bool:
    """Whether two answers are the same text. Case matters in formulas, where R and r are different."""
    if plain(right, fold=False) == plain(said, fold=False):
        return True
    folded = plain(right)
    return folded == plain(said) and (is_words(folded) or folded in _SHORT_WORDS)


def without_gaps(text: str) -> str:
    """A text with an ellipsis, in a uniform spelling."""
    return "".join(_ELLIPSIS.sub("…", text).split())


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


def _mixed(match: re.Match[str]) -> str:
    whole, top, bottom = match.groups()
    sign = "-" if whole.startswith("-") else ""
    return f"{sign}\\frac{{{abs(int(whole)) * int(bottom) + int(top)}}}{{{bottom}}}"
