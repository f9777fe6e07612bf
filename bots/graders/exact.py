"""The final answer, word for word: only case, blanks, quotes and a full stop around it do not count."""

from __future__ import annotations

import unicodedata

from bots.graders.base import Grade
from bots.graders.extract import final_answer, last_line

_QUOTES = "\"'`“”‘’«»"
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


def plain(text: str) -> str:
    """One spelling for what should be the same:

    Unicode form, case, blanks, surrounding quotes, final stop.
    """
    text = " ".join(unicodedata.normalize("NFKC", text).split()).casefold()
    before = None
    while before != text:
        before = text
        for start, end in _WRAPPERS:
            if text.startswith(start) and text.endswith(end) and len(text) >= len(start) + len(end):
                text = text[len(start) : len(text) - len(end)].strip()
        if len(text) > 1 and text.endswith(".") and not text.endswith(".."):
            text = text[:-1].rstrip()
        if len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
            text = text[1:-1].strip()
    return text
