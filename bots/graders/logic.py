"""Logic puzzles as in GURU: orderings, zebra grids, graph searches, ARC grids.

The form of the reference answer tells which it is: a list of names is an ordering, an object with `header` and `rows` a
zebra puzzle, a list of lists of integers an ARC grid, anything else a word. Answers stand in `<answer>` tags (or a
box). A zebra puzzle earns the share of its cells that are right, as in GURU; the others earn 1 or 0.
"""

from __future__ import annotations

import ast
import json
import re
from functools import lru_cache
from typing import Any

from bots.graders.base import Grade
from bots.graders.extract import final_answer

_LONGEST = 100_000  # characters; longer answers are not parsed
_GRID_START, _GRID_END = re.compile(r"\[\s*+\["), re.compile(r"\]\s*+(?=\])")
_BLANKS = re.compile(r"\s++")
_NEXT = re.compile(r"[ \n]?(?:,|;|->|→|>|<)[ \n]?|\n")
_BRACKETED = re.compile(r"\[([^\[\]]*)\]", re.DOTALL)
_QUOTES = "\"'`“”‘’"


def grade(prompt: str, answer: str, completion: str) -> Grade:
    """See the module docstring."""
    right = _right(answer)
    said = final_answer(completion)
    if said is None:
        return Grade(0.0, "no <answer>…</answer>")
    if len(said) > _LONGEST:
        return Grade(0.0, "the answer is too long")
    if isinstance(right, dict):
        return _grade_zebra(right, said)
    if isinstance(right, list):
        if right and all(isinstance(row, list) for row in right):
            return _grade_grid(right, said)
        return _grade_ordering(right, said)
    if _word(said) == _word(str(right)):
        return Grade(1.0, "right")
    return Grade(0.0, f"answered {said[:60]!r}, expected {right!r}")


@lru_cache(maxsize=4096)
def _right(answer: str) -> Any:
    value = _parse(answer)
    if isinstance(value, dict):
        rows = value.get("rows")
        if not (isinstance(rows, list) and rows and all(isinstance(row, list) and row for row in rows)):
            raise ValueError(f"a zebra puzzle's answer needs `header` and `rows`: {answer[:80]!r}")
        return value
    if isinstance(value, list | tuple):
        return [list(row) if isinstance(row, tuple) else row for row in value]
    return answer


def _parse(text: str) -> Any:
    """A JSON or Python value, or None."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue  # Python's parser raises MemoryError if the nesting is too deep
    return None


def _grade_ordering(right: list[Any], said: str) -> Grade:
    value = _parse(said)
    if not isinstance(value, list | tuple):
        found = _BRACKETED.findall(said)
        text = found[-1] if found else said
        blanks = _BLANKS.sub(lambda match: "\n" if "\n" in match[0] else " ", text.strip())
        value = _NEXT.split(blanks)
    names, expected = [_word(str(name)) for name in value], [_word(str(name)) for name in right]
    if names == expected:
        return Grade(1.0, "right")
    if sorted(names) != sorted(expected):
        return Grade(0.0, f"not the {len(expected)} names that are to be ordered")
    return Grade(0.0, "another order")


def _grade_zebra(right: dict[str, Any], said: str) -> Grade:
    value = _parse(said)
    if value is None:
        start, end = said.find("{"), said.rfind("}")
        value = _parse(said[start : end + 1]) if 0 <= start < end else None
    if not isinstance(value, dict) or not isinstance(value.get("rows"), list):
        return Grade(0.0, "not an object with `header` and `rows`")
    expected = [[_word(str(cell)) for cell in row] for row in right["rows"]]
    rows = [[_word(str(cell)) for cell in row] if isinstance(row, list) else [] for row in value["rows"]]
    columns = _columns(right.get("header"), value.get("header"), len(expected[0]))
    hits = sum(
        column < len(given) and given[column] == cell
        for row, given in zip(expected, rows, strict=False)
        for cell, column in zip(row, columns, strict=True)
    )
    cells = max(len(rows), len(expected)) * len(expected[0])  # extra rows dilute the share
    return Grade(hits / cells, "right" if hits == cells else f"{hits} of {cells} cells are right")


def _columns(right: Any, said: Any, count: int) -> list[int]:
    """Positions of the right answer's columns in the given one, which may order them differently."""
    if isinstance(right, list) and isinstance(said, list):
        wanted, given = [_word(str(name)) for name in right], [_word(str(name)) for name in said]
        if len(set(given)) == len(given) and sorted(wanted) == sorted(given):
            return [given.index(name) for name in wanted]
    return list(range(count))


def _grade_grid(right: list[list[Any]], said: str) -> Grade:
    value = _parse(_grid_text(said))
    if not isinstance(value, list):
        # A grid written with blanks: rows of digits.
        lines = [line.split() for line in said.strip().splitlines() if line.strip()]
        value = [[int(cell) for cell in line] for line in lines] if _all_digits(lines) else None
    if not (isinstance(value, list) and value and all(isinstance(row, list) for row in value)):
        return Grade(0.0, "not a grid")
    if value == right and not any(isinstance(cell, bool) for row in value for cell in row):
        return Grade(1.0, "right")
    if [len(row) for row in value] != [len(row) for row in right]:
        return Grade(0.0, f"a grid of {_size(value)}, expected {_size(right)}")
    wrong = sum(
        a != b for one, other in zip(value, right, strict=True) for a, b in zip(one, other, strict=True)
    )
    return Grade(0.0, f"{wrong} cells are wrong")


def _grid_text(said: str) -> str:
    """The text from the first `[[` to the last `]]`; all of it without them. Looks at each character once."""
    start = _GRID_START.search(said)
    end = max((match.end() for match in _GRID_END.finditer(said)), default=-1)
    return said[start.start() : end + 1] if start and start.start() < end else said


def _all_digits(lines: list[list[str]]) -> bool:
    return bool(lines) and all(
        len(cell) <= 2 and cell.isascii() and cell.isdigit() for line in lines for cell in line
    )


def _size(grid: list[list[Any]]) -> str:
    return f"{len(grid)}×{len(grid[0])}"


def _word(text: str) -> str:
    return " ".join(text.strip().strip(_QUOTES).strip().rstrip(".").split()).casefold()
