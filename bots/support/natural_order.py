"""Natural order of names: numbers in them count as numbers, so level 2 comes before level 10."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"([0-9]+)")


def natural(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """A key to sort names by: text in alphabetical order, runs of digits by their value."""
    parts = _NUMBER.split(name)
    # Split by a group, every second part is a number. The name itself puts "1" before "01".
    return [
        (place % 2 == 0, 0 if place % 2 == 0 else int(part), part) for place, part in enumerate(parts)
    ], name
