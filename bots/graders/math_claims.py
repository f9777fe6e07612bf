r"""What an answer states beside its value: names, a relation, a base, a modulus, a domain of its parameter.

Two answers with the same value are different if they state different things: `x=5` and `y=5`, `101_2` and `101_3`,
`> 12` and `12`. A completion that states less than the reference is forgiven.
"""

from __future__ import annotations

import re

_NAME = r"[A-Za-z](?:_\{?\w+\}?)?"
_TUPLE = re.compile(rf"(\(\s*{_NAME}(?:\s*,\s*{_NAME})+\s*\))\s*=\s*(\(.*\))")
_ASSIGNMENT = re.compile(rf"\s*({_NAME})\s*=\s*([^=<>]+?)\s*")
_PART = re.compile(r",(?![^([{]*[)\]}])|;")
_LIST = re.compile(r"[^()\[\]{}=<>]*,[^()\[\]{}=<>]*")
_RELATION = re.compile(
    r"\s*(?:[<>≤≥≠¬]|\\(?:leqslant|geqslant|leq?|geq?|lt|gt|neq?|neg|lnot|not|approx|sim|simeq)(?![a-zA-Z]))\s*=?"
)
_ABOUT = re.compile(r"\\(?:approx|simeq|doteq)(?![A-Za-z])|≈|≐")
_PREFIXED = re.compile(r"(?<![\w.\\])0(?:(x)([0-9a-f]+)|(b)([01]+)|(o)([0-7]+))(?![\w.])", re.IGNORECASE)
_PREFIXES = {"b": 2, "o": 8, "x": 16}
_NUMERAL = re.compile(r"\(?\s*(-?[0-9A-Fa-f]+)\s*\)?\s*_\s*\{?\s*(\d{1,3}|[a-z]+)\s*\}?")
_DIGITS = re.compile(r"[0-9A-Fa-f]+")
_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12,
    "sixteen": 16, "bin": 2, "oct": 8, "dec": 10, "hex": 16,
}  # fmt: skip
_CONGRUENT = re.compile(
    r"(?:([A-Za-z])\s*\\equiv\s*)?(-?\d{1,18})\s*\(?\s*\\?(?:pmod|bmod|mod)\s*\{?\s*(\d{1,18})\s*\}?\s*\)?"
)
_EQUAL_LETTERS = re.compile(r"\s*([A-Za-z])\s*=\s*([A-Za-z])\s*")
_VECTOR = re.compile(r"\\begin\{[pb]matrix\}(.*)\\end\{[pb]matrix\}")
_PARAMETERS = set("jklmnpqrst")
_WHOLE = re.compile(
    r"[\s,;(]*(?:\\(?:quad|qquad|text\s*\{\s*(?:where|for|with|,)?\s*\}|ldots|[,;: ])|\s|[,;(])*"
    r"(?:(?:where|for|with)\s+)?(?:any\s+)?([a-z])\s*"
    r"(?:\\in\s*\\(?:mathbb|mathbf)\s*\{?\s*Z\s*\}?|∈\s*ℤ|\\in\s*ℤ|is\s+an\s+integer|an\s+integer)[\s)]*$"
)


def assigned_tuple(text: str) -> tuple[str, str]:
    """Names and values of `(a,b)=(1,2)` and of `b=2, a=1`, in the names' order; other texts have no names."""
    if found := _TUPLE.fullmatch(text):
        names = "".join(found[1].split())[1:-1].split(",")
        values = [value.strip() for value in _PART.split(found[2].strip()[1:-1])]
    else:
        parts = [_ASSIGNMENT.fullmatch(part) for part in _PART.split(text)]
        if len(parts) < 2 or not all(parts):
            return "", text
        names, values = [part[1] for part in parts if part], [part[2] for part in parts if part]
    if len(set(names)) < len(names) or len(names) != len(values):
        return "", text
    pairs = sorted(zip(names, values, strict=True))
    return f"({','.join(name for name, _ in pairs)})", f"({','.join(value for _, value in pairs)})"


def as_points(right: str, said: str) -> tuple[str, str]:
    """Both answers, with a matrix of one column or one row as a tuple if the other one is a tuple."""
    if _shape(said) == "tuple":
        return _as_point(right), said
    return (right, _as_point(said)) if _shape(right) == "tuple" else (right, said)


def _as_point(text: str) -> str:
    found = _VECTOR.fullmatch(text)
    if found is None or ("&" in found[1]) == ("\\\\" in found[1]):
        return text
    return f"({re.sub('&|' + re.escape(2 * chr(92)), ',', found[1])})"


def in_order(names: str, text: str) -> str:
    """A bare list as a tuple, where the reference names its values: `2, 1` for x=1, y=2."""
    return f"({text})" if names and _LIST.fullmatch(text) else text


def other_name(right: str, said: str) -> bool:
    """Whether both give one named number and the names differ: `x=5` and `y=5`, but not `f(x)=x^2` and `y=x^2`."""
    one, other = _ASSIGNMENT.fullmatch(right), _ASSIGNMENT.fullmatch(said)
    if one is None or other is None or one[1] == other[1]:
        return False
    return not any(re.search(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", found[2]) for found in (one, other))


def other_shape(right: str, said: str) -> bool:
    r"""Whether one is a tuple or an open interval and the other a set: (1,2) is not \{1,2\}."""
    return {_shape(right), _shape(said)} == {"tuple", "set"}


def _shape(text: str) -> str:
    text = re.sub(r"\s", "", text)
    if re.fullmatch(r"\([^()]*,[^()]*\)", text):
        return "tuple"
    return "set" if re.fullmatch(r"\\\{[^()\[\]]*,[^()\[\]]*\\\}", text) else ""


def other_relation(right: str, said: str) -> bool:
    r"""Whether only one begins with a relation: `> 12`, `\neq 12` and `\le 12` are not 12."""
    return bool(_RELATION.match(right)) != bool(_RELATION.match(said))


def without_estimate(text: str) -> tuple[str, str | None]:
    r"""`\sqrt2 \approx 1.41` as its value and the estimate; a sign at the very beginning says nothing."""
    parts = [part.strip() for part in _ABOUT.split(text)]
    if not parts[0]:
        parts = parts[1:]
    return (parts[0], parts[-1]) if len(parts) > 1 and parts[-1] else (parts[0] if parts else "", None)


def same_numeral(right: str, said: str) -> bool | None:
    """Whether two numbers in a stated base (`49f1_{16}`, `0x49f1`) are written the same; None if neither states one.

    A completion may leave out the base, but not add one, except ten.
    """
    # As a formula, 0x49f1 is a product with 0: all of them would be equal.
    prefixed = _PREFIXED.search(right) or _PREFIXED.search(said)
    right, said = (_PREFIXED.sub(_subscripted, text) for text in (right, said))
    one, other = _numeral(right), _numeral(said)
    if one is None and other is None:
        return re.sub(r"\s", "", right) == re.sub(r"\s", "", said) if prefixed else None
    if one is None:
        return other is not None and other[1] == 10 and other[0] == right.strip()
    if other is None:
        return bool(_DIGITS.fullmatch(said.strip())) and one[0] == _digits(said)
    return one == other


def _subscripted(match: re.Match[str]) -> str:
    prefix, digits = (part for part in match.groups() if part is not None)
    return f"{_digits(digits)}_{{{_PREFIXES[prefix.lower()]}}}"


def _numeral(text: str) -> tuple[str, int] | None:
    found = _NUMERAL.fullmatch(text.strip())
    if found is None:
        return None
    base = int(found[2]) if found[2].isdigit() else _BASES.get(found[2], 0)
    is_number = any(map(str.isdigit, found[1])) or (base == 16 and len(found[1]) > 1)
    return (_digits(found[1]), base) if base >= 2 and is_number else None


def _digits(text: str) -> str:
    return text.strip().upper().lstrip("0") or "0"


def same_congruence(right: str, said: str) -> bool | None:
    """Whether two residues are the same; None if neither states a modulus.

    A completion may leave out the reference's modulus, or its name, but then the number itself must be the same.
    """
    one, other = _CONGRUENT.fullmatch(right.strip()), _CONGRUENT.fullmatch(said.strip())
    if one is None:
        return None if other is None else right.strip() == other[2] and "bmod" not in said
    if other is None:
        return said.strip() == one[2] and "bmod" not in right
    if (one[1] and other[1] and one[1] != other[1]) or int(one[3]) != int(other[3]) or not int(one[3]):
        return False
    return (int(one[2]) - int(other[2])) % int(one[3]) == 0


def same_equality(right: str, said: str) -> bool | None:
    """True for `y=x` where `x=y` is right; None for all else. Longer equations are math-verify's."""
    one, other = _EQUAL_LETTERS.fullmatch(right), _EQUAL_LETTERS.fullmatch(said)
    return True if one and other and one.groups() == other.groups()[::-1] else None


def family(text: str) -> tuple[str, str]:
    r"""A text without `, k \in \mathbb{Z}`, and the parameter, "" if there is none."""
    found = _WHOLE.search(text)
    return (text[: found.start()].rstrip(), found[1]) if found else (text, "")


def one_parameter(right: str, said: str, names: tuple[str, str]) -> str:
    r"""`said` with the name that the reference's whole-number parameter has: 2n\pi for 2k\pi."""
    letters = [set(re.findall(r"(?<![\\A-Za-z])[a-z](?![A-Za-z])", text)) for text in (right, said)]
    if not any(names) or any(len(found) != 1 for found in letters):
        return said
    (mine,), (theirs,) = letters
    if (names[0] or mine, names[1] or theirs) != (mine, theirs) or not {mine, theirs} <= _PARAMETERS:
        return said
    return re.sub(rf"(?<![\\A-Za-z]){theirs}(?![A-Za-z])", mine, said)
