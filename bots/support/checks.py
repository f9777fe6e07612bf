"""Checks of argument values that raise ValueError with the name and the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np


def whole(name: str, value: Any, least: int) -> int:
    """The value as an int. Raises ValueError for anything but a whole number of at least `least`."""
    if not _is_whole(value) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return int(value)


def finite(name: str, value: Any) -> None:
    """Raise ValueError unless a number, or every number in a mapping, a sequence or an array, is finite."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            finite(f"{name}.{key}", one)
    elif _is_many(value):
        for place, one in enumerate(value):
            finite(f"{name}.{place}", one)
    elif not _is_finite(value):
        raise ValueError(f"{name} is {value!r}; it must be a finite number")


def of_type(name: str, value: Any, annotation: Any) -> None:
    """Raise ValueError unless a value is what a parameter's annotation says, as it stands in the source.

    Knows bool, int, float (which must be finite), str, a sequence of floats or of texts, a pair of floats, and None
    beside them; everything else passes.
    """
    kind, *rest = str(annotation).split(" | ")
    if kind not in _KINDS or rest not in ([], ["None"]) or (rest and value is None):
        return
    wanted, fits = _KINDS[kind]
    if not fits(value):
        raise ValueError(
            f"{name} is {value!r}; it must be {wanted}{' or None (null in YAML)' if rest else ''}"
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # a whole number beyond a float's range
        return False


def _is_many(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "bool": ("true or false", lambda value: isinstance(value, bool | np.bool_)),
    "int": ("a whole number", _is_whole),
    "float": ("a finite number", _is_finite),
    "str": ("a text", lambda value: isinstance(value, str)),
    "Sequence[float]": ("finite numbers", lambda value: _is_many(value) and all(map(_is_finite, value))),
    "Sequence[str]": (
        "a list of names",
        lambda value: _is_many(value) and all(isinstance(one, str) for one in value),
    ),
    "tuple[float, float]": (
        "two finite numbers",
        lambda value: _is_many(value) and len(value) == 2 and all(map(_is_finite, value)),
    ),
}
"""Annotation → what it means in an error, and whether a value is of it."""
