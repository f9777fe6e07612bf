r"""Turns a reference answer into a completion that must be right: the quickest way to find unsolvable tasks."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Callable

from bots.graders import any_of, composite
from bots.graders.code_tests import BrokenTestsError, CallTests, parse
from bots.graders.registry import resolve

HOOK = "as_completion"
"""Optional function in a grader's module that turns an answer, or an answer and a prompt, into a right completion.

It returns None if it can't construct one.
"""


def _boxed(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


def _tagged(answer: str) -> str:
    return f"<answer>{answer}</answer>"


def _entry(answer: str) -> str | None:
    said = json.loads(answer).get("answer")
    return None if said is None else _tagged(str(said))


_FORMS: dict[str, Callable[[str], str | None]] = {
    "math": _boxed,
    "exact": _tagged,
    "logic": _tagged,
    "reasoning_gym": _entry,
    "lab_math": lambda answer: f";{answer}",
    "lab_logic": lambda answer: f",{answer}",
    # For these, the answer holds tests, not a program.
    "code": lambda answer: None,
    "lab_code": lambda answer: None,
}


def gold_completion(grader: str, answer: str, solution: str | None = None, prompt: str = "") -> str | None:
    """A completion with `answer` in the form that the grader expects; None if the answer does not give one.

    solution: a program that passes the tests, if the task's data set has one.
    For a weighted sum of graders, the completion satisfies all parts together.
    """
    parts = composite.parse(grader)
    if parts is None:
        return _of_one(grader, answer, solution, prompt)
    names = [name for _, name in parts]
    said = next((one for name in names if (one := _of_one(name, answer, solution, prompt)) is not None), None)
    if said is None:
        return None
    if "format_answer_tags" in names and not said.startswith("<answer>"):
        said = _tagged(said)
    if "format_boxed" in names and "\\boxed" not in said:
        said = _tagged(_boxed(answer))
    return f"<think>\nSo it is.\n</think>\n{said}" if "format_think" in names else said


def answer_fault(grader: str, answer: str) -> str | None:
    """Why no program could pass an answer that holds tests; None if they are readable, or the answer holds none."""
    names = [name for _, name in composite.parse(grader) or [(1.0, grader)]]
    if "code" not in names:
        return None
    try:
        tests = parse(answer)
        if isinstance(tests, CallTests):
            for part in (tests.prefix, tests.source):
                ast.parse(part)
    except (BrokenTestsError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"its tests are broken: {error}"
    return None


def _of_one(grader: str, answer: str, solution: str | None, prompt: str) -> str | None:
    if grader.startswith("format_"):
        return None
    if grader.startswith(any_of.PREFIX):
        return _of_one(
            grader.removeprefix(any_of.PREFIX), any_of.accepted_answers(answer)[0], solution, prompt
        )
    if grader == "code" and solution is not None:
        return f"```python\n{solution}\n```"
    hook = getattr(sys.modules.get(resolve(grader).__module__), HOOK, None)
    if hook is not None:
        takes_prompt = len(inspect.signature(hook).parameters) > 1
        made: str | None = hook(answer, prompt) if takes_prompt else hook(answer)
        return made
    return _FORMS.get(grader, _tagged)(answer)
