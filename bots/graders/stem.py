r"""Multiple choice: SuperGPQA and GPQA, as in GURU (`stem__supergpqa`, `stem__gpqa_diamond`).

The answer is a letter. A completion is right if it marks, in a box or another answer mark, that letter, alone or before
its option's text, or the option's text itself. No letter, several, or one within prose earns 0: nothing is guessed.
"""

from __future__ import annotations

import re

from bots.graders.base import Grade
from bots.graders.exact import plain
from bots.graders.extract import final_answer, last_line

_LETTER = re.compile(r"[A-Z]")
_WRAPPED = re.compile(r"\\(?:text|textbf|mathbf|mathrm|bf|rm|mbox|boxed)\s*\{([^{}]*)\}")
_SAID = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?[(\[]?\s*([A-Za-z])\s*[)\]]?\s*(?:[.:)]\s*(.*))?",
    re.IGNORECASE | re.DOTALL,
)
_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[).:]+[ \t:]*(\S.*)$", re.MULTILINE)
_ANOTHER = re.compile(r"\b[A-J]\b|\bor\b|\band\b")
_LONGEST = 1000  # maximum length of an option with its letter, in characters


def grade(prompt: str, answer: str, completion: str) -> Grade:
    """1 if the completion marks the option `answer`, a letter, else 0. Raises ValueError for any other `answer`."""
    right = answer.strip().strip("()")
    if not _LETTER.fullmatch(right):
        raise ValueError(f"a multiple choice answer must be a letter, not {answer[:80]!r}")
    said = final_answer(completion)
    if said is None:
        said = last_line(completion)
    if not said or len(said) > _LONGEST:
        return Grade(0.0, "no option is marked")
    options = {letter: plain(text) for letter, text in _OPTION.findall(prompt)}
    chosen = _chosen(said, options)
    if chosen is None:
        return Grade(0.0, f"not one option: {said[:60]!r}")
    return Grade(1.0, "right") if chosen == right else Grade(0.0, f"chose {chosen}, expected {right}")


def as_completion(answer: str) -> str:
    """The answer in the form that the prompt asks for."""
    return f"\\boxed{{{answer}}}"


def _chosen(said: str, options: dict[str, str]) -> str | None:
    """The one letter that `said` names; None if it names none or several."""
    for letter, text in options.items():
        if plain(said) == text and list(options.values()).count(text) == 1:
            return letter
    text = said
    for _ in range(3):
        text = _WRAPPED.sub(r"\1", text).strip().strip("$*").strip()
    found = _SAID.fullmatch(text)
    if found is None:
        return None
    letter, rest = found[1].upper(), (found[2] or "").strip()
    if options and letter not in options:
        return None
    # Only the option's own text may follow the letter: "A. or B" chooses neither.
    own = plain(rest) == options[letter] if options else not _ANOTHER.search(rest)
    return letter if not rest or own else None
