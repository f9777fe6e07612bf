"""Compares the final answer word for word, ignoring only case, blanks, surrounding quotes and a final full stop."""

from __future__ import annotations

import re
import unicodedata

from bots.graders.base import Grade
from bots.graders.extract import final_answer, last_line

_QUOTES = "\"'`“”‘’«»"
_SCRIPTS = re.compile("[²³¹⁰⁴-ⁿ]+|[₀-₎]+")
_WRAPPERS = (("\\text{", "}"), ("\\mathrm{", "}"), ("\\textbf{", "}"), ("**", "**"), ("$", "$"))


def grade(prompt: str, answer: str, completion: str) -> Grade:
    """1 if the completion's marked answer (see `extract.final_answer`), or else its last line, is `answer`.

    An answer that merely contains the right one is wrong.
    """
    said = final_answer(completion)
    if said is None:
        said = last_line(completion)
    if not said:
        return Grade(0.0, "no answer")
    if plain(said) == plain(answer):
        return Grade(1.0, "right")
    return Grade(0.0, f"answered {said[:60]!r}, expected {answer[:60]!r}")


def plain(text: str, *, fold: bool = True) -> str:
    """Normalise a text so that equal answers have equal spellings.

    Normalises Unicode form, case (unless `fold` is False), blanks, surrounding quotes and the final full stop.
    """
    # Superscript and subscript digits stay apart: 10² is not 102.
    text = unicodedata.normalize("NFKC", _SCRIPTS.sub(_script, text))
    text = " ".join(text.split())
    if fold:
        text = text.casefold()
    # Positions instead of copies: a thousand wrappers cost one look each.
    start, end = 0, len(text)
    before = (-1, -1)
    while before != (start, end):
        before = (start, end)
        for opening, closing in _WRAPPERS:
            if (
                end - start >= len(opening) + len(closing)
                and text.startswith(opening, start, end)
                and text.endswith(closing, start, end)
            ):
                start, end = _stripped(text, start + len(opening), end - len(closing))
        if end - start > 1 and text.endswith(".", start, end) and not text.endswith("..", start, end):
            start, end = _stripped(text, start, end - 1)
        if end - start > 1 and text[start] in _QUOTES and text[end - 1] in _QUOTES:
            start, end = _stripped(text, start + 1, end - 1)
    return text[start:end]


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] == " ":
        start += 1
    while start < end and text[end - 1] == " ":
        end -= 1
    return start, end


def _script(match: re.Match[str]) -> str:
    mark = "_" if "\u2080" <= match[0] <= "\u208e" else "^"
    return f"{mark}{unicodedata.normalize('NFKC', match[0])}"
