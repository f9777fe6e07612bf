"""Units, currencies and counted things after a number: dropped if they only name what is counted."""

from __future__ import annotations

import re

TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox|operatorname)\s*\{([^{}]*)\}")
_COUNTED = re.compile(
    r"\$?\s*(-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s*/\s*\d+)?(?:\s+\d+/\d+)?|-?\\frac\{\d+\}\{\d+\})(\s*)"
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
_MONEY = {"$": "dollar", "€": "euro", "£": "sterling", "¥": "yen"}
_AT_THE_END = re.compile(
    r"[\d})]\s*([A-Za-z]+)\.?\s*(\^?\s*\{?[23]?\}?)\s*(?:(?:/|\bper\b)\s*([A-Za-z]+)\.?)?\s*$"
)
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


def _unit(text: str) -> str | None:
    text = text.strip()
    money = _MONEY.get(text.removeprefix("\\")[:1]) if not text.endswith("$") else None
    text = TEXT.sub(lambda match: f" {match[1].strip()} ", text.strip("$"))
    found = _AT_THE_END.search(text)
    if found is None:
        return money
    unit, over = base_unit(found[1]), base_unit(found[3]) if found[3] else ""
    if unit == "mph":
        unit, over = "mi", "h"
    if not unit or over is None:
        return None
    return unit + re.sub(r"\D", "", found[2]) + (f"/{over}" if over else "")


def base_unit(word: str) -> str | None:
    if len(word) == 1 and word.isupper() and word != "L":
        return None  # 5 M is not five metres
    word = word.lower()
    return (
        _UNIT_NAMES.get(word)
        or _UNIT_NAMES.get(word.removesuffix("s"))
        or _UNIT_NAMES.get(word.removesuffix("es"))
    )
