r"""Finds a completion's final answer: in \boxed{}, in answer tags, or after "the answer is"."""

from __future__ import annotations

import re
from collections.abc import Iterator

_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?=[{\s])")
_BOXED_BARE = re.compile(r"\\boxed\s+([^\s${}]+)")
_BETWEEN = re.compile(
    r"(?:[\s$,;|&]|\\[\[\]()]|\\(?:q?quad|[,;: !\\])(?![A-Za-z])"
    r"|\\(?:text|mathrm)\s*\{\s*(?:and|or)?\s*\}|\b(?:and|or)\b)*+"
)
_PHRASE = re.compile(
    # Possessive quantifiers: blanks that two quantifiers could share would be tried in every split.
    r"(?:(?:final|correct)\s++answer|answer)\**+\s*+(?:is|are|:|=)\s*+:?+\**+\s*+(.+)|^####\s*+(.+)",
    re.IGNORECASE | re.MULTILINE,
)
_LANGUAGE = re.compile(r"[ \t]*([\w+-]*)")

# A completion of nothing but open boxes must not cause a quadratic search.
_BOXES = 20
_LONGEST = 20_000


def after_thinking(completion: str) -> str:
    """The text after the last `</think>`; the whole text without one."""
    return completion.rpartition("</think>")[2]


def tagged(completion: str) -> str | None:
    """The content of the last `<answer>…</answer>` after the thinking, stripped."""
    text = after_thinking(completion)
    content = None
    opened = None
    for tag in _TAG.finditer(text):
        if not tag[1]:
            opened = tag.end()
        elif opened is not None:
            content, opened = text[opened : tag.start()].strip(), None
    return content


def boxed(text: str) -> str | None:
    r"""The content of the last complete `\boxed{…}`, braces balanced, stripped.

    Boxes with nothing but "and", "or", commas and blanks between them are one answer: `\boxed{12} or \boxed{13}` says
    "12, 13". Of boxes within each other the outermost counts: `\boxed{\boxed{12} or 13}` says "12 or 13".
    """
    found = _outermost(text)
    if not found:
        return None
    said = [found[-1][2]]
    for (_, end, content), (start, _, _) in zip(found[-2::-1], found[:0:-1], strict=True):
        if not _BETWEEN.fullmatch(text, end, start):
            break
        said.insert(0, content)
    return ", ".join(dict.fromkeys(filter(None, map(_unboxed, said))))


def _outermost(text: str) -> list[tuple[int, int, str]]:
    """(start, end, content) of the last complete boxes that lie in no other, in order."""
    found: list[tuple[int, int, str]] = []
    for match in list(_BOXED.finditer(text))[-_BOXES:]:
        if found and match.start() < found[-1][1]:
            continue
        start = match.end()
        while start < len(text) and text[start].isspace():
            start += 1
        if start < len(text) and text[start] == "{":
            end = _closing(text, start)
            if end is not None:
                found.append((match.start(), end + 1, text[start + 1 : end].strip()))
        elif bare := _BOXED_BARE.match(text, match.start()):
            found.append((match.start(), bare.end(), bare[1].strip()))
    return found


def _unboxed(text: str) -> str:
    r"""The content without the boxes within it: `\boxed{12}` is 12."""
    for _ in range(_BOXES):
        inner = _outermost(text)
        if not inner:
            break
        for start, end, content in reversed(inner):
            text = f"{text[:start]} {content} {text[end:]}".strip()
    return text


def final_answer(completion: str) -> str | None:
    r"""The marked answer, or None: the last `<answer>…</answer>` (a box inside it counts), else the last `\boxed{}`,
    else the last "the answer is …", "Answer: …" or "#### …", up to the end of its line.
    """
    text = after_thinking(completion)
    inside = tagged(text)
    if inside is not None:
        box = boxed(inside)
        return inside if box is None else box
    box = boxed(text)
    if box is not None:
        return box
    phrases = list(_PHRASE.finditer(text))
    if phrases:
        said = next(group for group in phrases[-1].groups() if group)
        for _ in range(_BOXES):  # "The answer is 12. No, the answer is 13."
            later = _PHRASE.search(said)
            if later is None:
                break
            said = next(group for group in later.groups() if group)
        return _sentence(said)
    return None


def last_line(completion: str) -> str | None:
    """The last non-blank line, stripped."""
    lines = after_thinking(completion).strip().splitlines()
    return lines[-1].strip() if lines else None


def fenced(text: str) -> Iterator[tuple[str, str]]:
    """(language, body) of each closed fenced block. Looks at each line once, however many blocks are opened."""
    language: str | None = None
    body: list[str] = []
    for line in text.split("\n"):
        words = line.lstrip(" \t")
        if not words.startswith("```"):
            body.append(line)
        elif language is None:
            found = _LANGUAGE.match(words, 3)
            language, body = found[1] if found else "", []
        else:
            yield language, "".join(f"{part}\n" for part in body)
            language = None


def last_fenced(text: str) -> str | None:
    """The body of the last closed fenced block, including one within a line (```json {"a": 1}```), stripped."""
    parts = text.split("```")
    if len(parts) < 3:
        return None
    last = parts[-2 if len(parts) % 2 else -3]
    found = _LANGUAGE.match(last)
    return last[found.end() if found else 0 :].strip()


def _sentence(text: str) -> str:
    """The text without sentence-ending punctuation; a decimal point stays."""
    text = re.split(r"(?<=[^\s.])\.\s++(?=[A-Z])", text.strip(), maxsplit=1)[0]
    return text.strip().strip("*_ ").rstrip(".").strip("*_ ").strip()


def _closing(text: str, start: int) -> int | None:
    depth = 0
    escaped = False
    for position in range(start, min(len(text), start + _LONGEST)):
        char = text[position]
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return position
    return None
