"""Checks of argument values that raise ValueError with the name and the value."""

from __future__ import annotations

from numbers import Integral
from typing import Any


def whole(name: str, value: Any, least: int) -> int:
    """The value as an int. Raises ValueError for anything but a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return int(value)
