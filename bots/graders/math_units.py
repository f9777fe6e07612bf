"""Units, currencies and counted things after a number: dropped if they only name what is counted."""

from __future__ import annotations

import re

TEXT = re.compile(
    r"\\(?:text|textrm|textsf|texttt|emph|mathrm|textbf|mathbf|textit|mbox|operatorname)\s*\{([^{}]*)\}"
)
_WRAPPED = re.compile(
    r"\\(?:text|mathrm|textbf|mathbf|textit|mbox|operatorname)\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_COUNTED = re.compile(
    r"\$?\s*(-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s*/\s*\d+)?(?:\s+\d+/\d+)?|-?\d{0,9}\s*\\frac\{\d+\}\{\d+\})(\s*)"
    r"([A-Za-z][A-Za-z .^{}23/-]*)"
)
_NOT_UNITS = {"or", "and", "to", "pi", "sqrt", "mod", "log", "ln", "sin", "cos", "tan", "exp", "infty"}
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
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
_AFTER = re.compile(
    r"(?<=[iπ}\w)])((?:\\[,;: ]|[~\s/]|\\cdot(?![A-Za-z])|\\(?:text|mathrm|textrm)\s*\{(?:[^{}]|\{[^{}]*\})*\}"
    r"|\\[dt]?frac\s*\{\s*\\(?:text|mathrm)\s*\{[^{}]*\}\s*\}\s*\{\s*\\(?:text|mathrm)\s*\{[^{}]*\}\s*\}"
    r"|\^\s*\{?\s*-?\d\s*\}?|\^\s*\{?\s*\\circ\s*\}?)+)$"
)
_TEMPERATURE = re.compile(
    r"(?<=\d)\s*(?:\^\s*\{?\s*\\circ\s*\}?|°)\s*(?:[CF]|\\(?:text|mathrm)\s*\{\s*[CF]\s*\})$"
)
_SCALE_LETTERS = {"K", "M", "B", "T", "k", "m"}  # may also stand for thousand, million, …
_POWER_WORDS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_MONEY = {"$": "dollar", "€": "euro", "£": "sterling", "¥": "yen"}
_PREFIXES = {
    "n": "nano",
    "µ": "micro",
    "m": "milli",
    "c": "centi",
    "d": "deci",
    "k": "kilo",
    "M": "mega",
    "G": "giga",
}
_SYMBOLS = {
    "m": "meter metre", "g": "gram", "s": "second", "A": "ampere amp", "K": "kelvin", "mol": "mole", "J": "joule",
    "N": "newton", "W": "watt", "V": "volt", "Pa": "pascal", "Hz": "hertz", "C": "coulomb", "F": "farad", "T": "tesla",
    "L": "liter litre", "eV": "", "cal": "calorie", "B": "byte", "Ω": "ohm", "M": "",
}  # fmt: skip
r"""Units that take prefixes, as they are written within \text{} or \mathrm{}, with their names."""
_PHYSICAL = {
    prefix + symbol: prefix + symbol
    for symbol in _SYMBOLS
    for prefix in ("", *_PREFIXES)
    if prefix + symbol not in ("cd", "dB", "nM", "kM")
}
_PHYSICAL |= {
    word + name: prefix + symbol
    for symbol, names in _SYMBOLS.items()
    for name in names.split()
    for prefix, word in {"": "", **_PREFIXES}.items()
}
_PHYSICAL |= {
    "rad": "rad",
    "radian": "rad",
    "percent": "%",
    "deg": "degree",
    "degree": "degree",
    "l": "L",
    "ml": "mL",
}
_PHYSICAL |= {
    "degc": "degree C",
    "degf": "degree F",
    "mph": "mi/h",
    "bar": "bar",
    "atm": "atm",
    "hertz": "Hz",
}
_MARKS = (
    (re.compile(r"\\mu(?![A-Za-z])|μ"), "µ"),
    (re.compile(r"\\Omega(?![A-Za-z])|Ω"), "Ω"),
    (
        re.compile(r"(?:\^\s*\{?\s*(?:\\circ|o)\s*\}?|°|\\degree(?![A-Za-z]))\s*([CF]?)(?![A-Za-z])"),
        r" deg\1 ",
    ),
    (re.compile(r"\\?%"), " percent "),
    (re.compile(r"(?<=\d)\s*(?:''|\^\s*\{?\\prime\\prime\}?|″|\")"), " in "),
    (re.compile(r"(?<=\d)\s*(?:'|\^\s*\{?\\prime\}?|′)"), " ft "),
    (re.compile(r"\\[dt]?frac\s*\{\s*([A-Za-z ^{}\d]+?)\s*\}\s*\{\s*([A-Za-z ^{}\d]+?)\s*\}"), r" \1/\2"),
    (re.compile(r"\\cdot(?![A-Za-z])|\\times(?![A-Za-z])|\\[,;:! ]|[~·*]"), " "),
)
_MEASURES = {"square", "cubic", "sq", "cu", "unit", "units"}
_MEASURE = re.compile(r"[\d})πi]\s*((?:[A-Za-zµΩ]+\.?(?:\s*\^?\s*\{?\s*-?[1-4]\s*\}?)?\s*|\s*/\s*)+)$")
_FACTOR = re.compile(r"(/)|([A-Za-zµΩ]+)\.?(?:\s*\^?\s*\{?\s*(-?[1-4])\s*\}?)?")
_UNIT_NAMES = {name: unit for unit, names in _UNITS.items() for name in (unit, *names.split())}


def drop_unit(text: str) -> str:
    """Drop what is counted or measured: "18 apples", "5cm^2", "$5"; "3 million" becomes a power of ten."""
    found = _COUNTED.fullmatch(text)
    if found is None:
        return text.removeprefix("$") if re.fullmatch(r"\$\s*-?[\d,.]+", text) else text
    number, blank, words = found.groups()
    written = re.split(r"[ /^.]", words)[0]
    first = written.lower()
    if first == "dozen":
        return f"{number} \\times 12"
    if first in _SCALES:
        return f"{number} \\times 10^{{{_SCALES[first]}}}"
    counted = blank != "" and len(first) >= 3 and first not in _NOT_UNITS  # "7abc" is a product
    return number if counted or base_unit(written) else text


def same_units(one: str, other: str) -> bool:
    """False if both name a unit of measure and the units differ; a missing unit is forgiven."""
    first, second = _unit(one), _unit(other)
    return first is None or second is None or first == second


def drop_text_unit(text: str) -> str:
    r"""Drop a unit in \text{} or \mathrm{}: `5\text{ N}`, `16\pi\,\mathrm{m\,s^{-1}}`. Other words stay."""
    text = _TEMPERATURE.sub("", text)
    found = _AFTER.search(text)
    if found is None or "{" not in found[1] or not ("text" in found[1] or "mathrm" in found[1]):
        return text
    powers = _unit(f"1 {found[1]}")
    words = re.findall(r"[A-Za-z]+", _WRAPPED.sub(r" \1 ", found[1]).replace(r"\circ", ""))
    if powers is None or (len(words) == 1 and words[0] in _SCALE_LETTERS):
        known = bool(words) and all(base_unit(word) or word in _MEASURES for word in words)
        return text[: found.start()].rstrip() if known else text
    return text[: found.start()].rstrip()


def _unit(text: str) -> dict[str, int] | None:
    """The unit at the end of an answer: its factors and their powers. None if there is none, or an unknown word."""
    text = text.strip().rstrip(".")
    money = _MONEY.get(text.removeprefix("\\")[:1]) if not text.endswith("$") else None
    text = text.strip("$")
    for _ in range(2):
        text = _WRAPPED.sub(lambda match: f" {match[1].strip()} ", text)
    for mark, word in _MARKS:
        text = mark.sub(word, text)
    found = _MEASURE.search(text.strip())
    if found is None:
        return {money: 1} if money else None
    return _powers(found[1])


def _powers(text: str) -> dict[str, int] | None:
    powers: dict[str, int] = {}
    sign, next_power = 1, 1
    for slash, word, power in _FACTOR.findall(text):
        if slash or word.lower() == "per":
            sign = -1
        elif word.lower() in _POWER_WORDS:
            next_power = _POWER_WORDS[word.lower()]
        else:
            unit = physical_unit(word)
            if unit is None:
                return None
            for place, part in enumerate(unit.split("/")):
                powers[part] = powers.get(part, 0) + (-1 if place else 1) * sign * int(power or next_power)
            next_power = 1
    return powers or None


def physical_unit(word: str) -> str | None:
    r"""The symbol of a unit as it stands within \text{}; None for any other word."""
    for form in (word, word.lower(), word.lower().removesuffix("s"), word.lower().removesuffix("es")):
        if form in _PHYSICAL:
            return _PHYSICAL[form]
    return base_unit(word)


def base_unit(word: str) -> str | None:
    if len(word) == 1 and word.isupper() and word != "L":
        return None  # 5 M is not five metres
    word = word.lower()
    return (
        _UNIT_NAMES.get(word)
        or _UNIT_NAMES.get(word.removesuffix("s"))
        or _UNIT_NAMES.get(word.removesuffix("es"))
    )
