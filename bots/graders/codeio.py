r"""Predicted inputs and outputs of a program as JSON: CodeI/O, as in GURU (`simulation__codeio`).

The answer is `"output": VALUE` or `"input": VALUE`. The completion gives its value in a box, a fenced block or answer
tags, with or without that key. Values are compared as JSON: integers exactly, other numbers to a relative 1e-6, objects
in any key order, lists in order. As in GURU, an input is right only if it equals the recorded one.
"""

from __future__ import annotations

import ast
import json
import math
from functools import lru_cache
from typing import Any

from bots.graders.base import Grade
from bots.graders.extract import after_thinking, boxed, last_fenced, tagged

_LONGEST = 100_000  # maximum length of a value, in characters
_TRIES = 20  # positions in an unmarked text where a value may start
_TOLERANCE = 1e-6
_NOTHING: Any = object()
_UNREADABLE = (ValueError, SyntaxError, TypeError, RecursionError, MemoryError)


def grade(prompt: str, answer: str, completion: str) -> Grade:
    """1 if the completion's value equals the answer's.

    Raises ValueError if the answer is not a JSON value with its key.
    """
    key, right = _right(answer)
    said = _said(completion, key)
    if said is _NOTHING:
        return Grade(0.0, f"no JSON value for {key!r}")
    try:
        same = _same(right, _plain(said))
    except RecursionError:
        same = False
    return Grade(1.0, "right") if same else Grade(0.0, f"another value for {key!r}: {str(said)[:60]!r}")


def as_completion(answer: str) -> str:
    """The answer in the form that the prompt asks for."""
    return f"```json\n{answer}\n```"


@lru_cache(maxsize=1024)
def _right(answer: str) -> tuple[str, Any]:
    for text in (answer, f"{{{answer}}}"):
        try:
            value = _load(text)
        except _UNREADABLE:
            continue
        if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in ("input", "output"):
            key, inner = next(iter(value.items()))
            return key, _plain(inner)
    raise ValueError(f'a codeio answer must be `"output": VALUE` or `"input": VALUE`, not {answer[:80]!r}')


def _said(completion: str, key: str) -> Any:
    text = after_thinking(completion)
    for marked in (boxed(text), last_fenced(text), tagged(text)):
        if marked is not None and (value := _value(marked, key)) is not _NOTHING:
            return value
    return _last_keyed(text[-_LONGEST:], key)


def _value(text: str, key: str) -> Any:
    """The value in a marked text: with its key, in braces, in a fence, or bare."""
    if len(text) > _LONGEST:
        return _NOTHING
    inner = last_fenced(text)
    for one in (
        text if inner is None else inner,
        text.replace("\\{", "{").replace("\\}", "}").replace("\\_", "_"),
    ):
        for form in (one, f"{{{one}}}"):
            try:
                value = _load(form)
            except _UNREADABLE:
                continue
            if isinstance(value, dict) and key in value and set(value) <= {"input", "output"}:
                return value[key]
            if form is one:
                return value
    return _NOTHING


def _load(text: str) -> Any:
    """A JSON value, or a Python one (`True`, the other kind of quotes). Duplicate keys are refused."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError:
        if "{" in text and text.count(":") > 1:
            _refuse_repeats(text)
        return ast.literal_eval(text.strip())


def _refuse_repeats(text: str) -> None:
    for node in ast.walk(ast.parse(text.strip(), mode="eval")):
        if isinstance(node, ast.Dict):
            keys = [ast.dump(key) for key in node.keys if key is not None]
            if len(set(keys)) < len(keys):
                raise ValueError("a key comes twice")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key comes twice")
    return made


def _last_keyed(text: str, key: str) -> Any:
    """The value after the last `"key":` that is not itself inside such a value."""
    found: Any = _NOTHING
    decoder = json.JSONDecoder(object_pairs_hook=_once)
    mark, start = f'"{key}"', 0
    for _ in range(_TRIES):
        start = text.find(mark, start)
        if start < 0:
            return found
        start += len(mark)
        rest = start
        while rest < len(text) and text[rest] in " \t\n:":
            rest += 1
        if ":" not in text[start:rest]:
            continue
        try:
            found, start = decoder.raw_decode(text, rest)
        except _UNREADABLE:
            found = _NOTHING
    return _NOTHING if mark in text[start:] else found


def _plain(value: Any) -> Any:
    """Parse a text that spells out an object, a list or a truth value; turn tuples into lists."""
    if isinstance(value, str):
        text = value.strip()
        if text[:1] + text[-1:] in ("{}", "[]"):
            try:
                return _plain(json.loads(text))
            except _UNREADABLE:
                return value
        low = text.lower()
        return low == "true" if low in ("true", "false") else value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _same(right: Any, said: Any) -> bool:
    if isinstance(right, bool) or isinstance(said, bool):
        return right is said
    if isinstance(right, int) and isinstance(said, int):
        return right == said
    if isinstance(right, int | float) and isinstance(said, int | float):
        return _same_number(right, said)
    if isinstance(right, list) and isinstance(said, list):
        return len(right) == len(said) and all(map(_same, right, said))
    if isinstance(right, dict) and isinstance(said, dict):
        return right.keys() == said.keys() and all(_same(value, said[key]) for key, value in right.items())
    return type(right) is type(said) and bool(right == said)


def _same_number(right: float, said: float) -> bool:
    if right != right or said != said:
        return right != right and said != said
    if isinstance(right, int):
        return said == right  # 3.0 counts as 3
    try:
        return right == said or math.isclose(right, said, rel_tol=_TOLERANCE, abs_tol=0.0)
    except OverflowError:  # an integer too large for a float
        return False
