r"""Reference answers as data sets publish them: worked solutions that end in the answer, and golds without content."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bots.graders.extract import boxed

_WRAPPERS = re.compile(
    r"\\(?:text\w*|math[a-z]+|mbox|boxed|fbox|left|right|displaystyle|quad|qquad|thinspace|phantom)(?![a-zA-Z])"
    r"|\\[,;:! \n]|\\%|[\s${}%.~]"
)
_BRACE = re.compile(r"\\[{}]")


def final_part(text: str) -> str:
    r"""What a worked solution comes out at: what stands after the last `####` (GSM8K), else in its last box (MATH).

    A text without either is the answer itself.
    """
    marked = list(re.finditer(r"^####", text, re.MULTILINE))
    if marked:
        return text[marked[-1].end() :].strip()
    box = boxed(text) if "\\boxed" in text or "\\fbox" in text else None
    return box or text


def final_parts(answers: pa.StringArray) -> pa.StringArray:
    """`final_part` of each; texts without a mark are not touched."""
    worked = pc.match_substring_regex(answers, r"(?m)^####|\\boxed|\\fbox").fill_null(False)
    if not pc.any(worked).as_py():
        return answers
    return pa.array(
        [
            final_part(text) if at else text
            for text, at in zip(answers.to_pylist(), worked.to_pylist(), strict=True)
        ],
        pa.string(),
    )


def is_contentless(text: str) -> bool:
    r"""Whether nothing is left of an answer without its wrapping: `$$`, `\text{}`, `%`, `\boxed{ }`."""
    # `\{\}` is the empty set.
    return not _BRACE.search(text) and not _WRAPPERS.sub("", text)


def contentless(answers: pa.StringArray) -> npt.NDArray[np.bool_]:
    """bool (rows,): which answers have no content. Empty and null ones are not among them: these are faults of another
    kind.
    """
    # Most answers have a digit or are longer than any wrapping without content.
    short = pc.less(pc.binary_length(answers), 64)
    suspect = pc.and_(short, pc.invert(pc.match_substring_regex(answers, r"[0-9]"))).fill_null(False)
    found: npt.NDArray[np.bool_] = np.zeros(len(answers), bool)
    rows = np.flatnonzero(suspect.to_numpy(zero_copy_only=False))
    for row, text in zip(rows, answers.take(pa.array(rows)).to_pylist(), strict=True):
        found[row] = bool(text.strip()) and is_contentless(text)
    return found
