"""Graders that wait for a server run in threads, many at a time; with a process each, they would wait one by one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bots.graders import any_of, composite
from bots.graders.base import Grade, Grader, printable
from bots.graders.registry import resolve
from bots.graders.worker import Item

WAITING = frozenset({"judge"})
"""Built-in graders that only wait: they bound their own time and are safe in threads."""


@dataclass(frozen=True, slots=True)
class Result:
    """reward: float in [0, 1], or None if the sample could not be graded.

    seconds: time the grade took.
    """

    reward: float | None
    reason: str
    seconds: float


def waits(name: str) -> bool:
    """Whether this grader, or a part of it, waits for a server."""
    return any(part.removeprefix(any_of.PREFIX) in WAITING for part in _parts(name))


def grade(
    items: Sequence[Item], threads: ThreadPoolExecutor, in_processes: Callable[[Sequence[Item]], list[Result]]
) -> list[Result]:
    """A result for each item. Waiting graders run in `threads`, while everything else goes to `in_processes`.

    A sum with a waiting part, or a list of accepted answers for one, is split into its parts and combined again here.
    """
    parts = [_leaves(item) if waits(item[0]) else [[item]] for item in items]
    flat = [leaf for of_item in parts for of_part in of_item for leaf in of_part]
    asked = [threads.submit(_ask, leaf) if leaf[0] in WAITING else None for leaf in flat]
    graded = iter(in_processes([leaf for leaf, future in zip(flat, asked, strict=True) if future is None]))
    found = iter([next(graded) if future is None else future.result() for future in asked])
    results = []
    for item, of_item in zip(items, parts, strict=True):
        given = [[next(found) for _ in of_part] for of_part in of_item]
        results.append(_together(item, given) if waits(item[0]) else given[0][0])
    return results


def _parts(name: str) -> list[str]:
    return [part for _, part in composite.parse(name) or [(1.0, name)]]


def _leaves(item: Item) -> list[list[Item]]:
    """For each part of a sum, or for the only grader, the items that its verdict is made of."""
    name, prompt, answer, completion = item
    found: list[list[Item]] = []
    for part in _parts(name):
        inner = part.removeprefix(any_of.PREFIX)
        accepted = [answer]
        if inner != part and inner in WAITING:
            with contextlib.suppress(ValueError):  # `_together` reports what is wrong with it
                accepted = any_of.accepted_answers(answer)
        else:
            inner = part
        found.append([(inner, prompt, one, completion) for one in accepted])
    return found


class _UngradedError(Exception):
    """A part has no verdict; gives the reason."""


def _together(item: Item, given: list[list[Result]]) -> Result:
    """Combine the results of an item's parts into one."""
    name, prompt, answer, completion = item
    seconds = sum(result.seconds for of_part in given for result in of_part)

    def one(part: str, of_part: list[Result]) -> Grader:
        results = iter(of_part)

        def told(*_: str) -> Grade:
            result = next(results)
            if result.reward is None:
                raise _UngradedError(result.reason)
            return Grade(result.reward, result.reason)

        inner = part.removeprefix(any_of.PREFIX)
        return any_of.AnyOf(part, told) if inner != part and inner in WAITING else told

    weighted = composite.parse(name)
    whole: Grader
    if weighted is None:
        whole = one(name, given[0])
    else:
        parts = zip(weighted, given, strict=True)
        whole = composite.Composite(tuple((w, part, one(part, found)) for (w, part), found in parts))
    try:
        grade = whole(prompt, answer, completion)
    except _UngradedError as error:
        return Result(None, str(error), seconds)
    except ValueError as error:
        return Result(None, f"grader {name!r} failed: {printable(str(error))}", seconds)
    return Result(grade.reward, printable(grade.reason), seconds)


def _ask(item: Item) -> Result:
    name, prompt, answer, completion = item
    started = time.monotonic()
    try:
        verdict = resolve(name)(prompt, answer, completion)
    except Exception as error:  # noqa: BLE001 a judge's fault is a counted failure, not the end of the run
        reason = f"grader {name!r} failed: {type(error).__name__}: {printable(str(error))}"
        return Result(None, reason, time.monotonic() - started)
    return Result(verdict.reward, printable(verdict.reason), time.monotonic() - started)
