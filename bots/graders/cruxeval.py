"""Predicted inputs and outputs of a Python function `f`: CRUXEval, as in GURU (`simulation__cruxeval-i`, `-o`).

The answer is `{"functional": SOURCE}`. The prompt ends with the assertion to complete: `assert f(??) == OUTPUT` or
`assert f(INPUT) == ??`. A completion gives the whole assertion in a fenced block, or the missing part in a box or tags.
Only literals are taken from it. They and the task's own function are combined in the sandbox, and no model-written code
is run. Any input that produces the output is right.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass

from bots.graders import code
from bots.graders.base import Grade
from bots.graders.code_tests import BrokenTestsError
from bots.graders.extract import after_thinking, boxed, last_fenced, last_line, tagged

preflight = code.preflight

_ASKED = re.compile(r"^assert f\(.*$", re.MULTILINE)
_INPUT, _OUTPUT = "assert f(??) == ", ") == ??"
_LONGEST = 20_000  # maximum length of an assertion, in characters
_MOST_REPEATS = 1000  # in "a" * 5
_EMPTY = {"set", "dict", "list", "tuple", "frozenset", "bytes", "bytearray"}
_OF_ONE = {"set", "frozenset", "list", "tuple", "float", "bytes", "bytearray"}
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True, slots=True)
class _Task:
    """given: source of the arguments, None if they are the question. expected: source of the result, likewise."""

    source: str
    given: str | None
    expected: str | None


def grade(prompt: str, answer: str, completion: str) -> Grade:
    """1 if the completed assertion is the prompt's and holds.

    Raises:
        BrokenTestsError: the answer has no function, or the prompt no assertion to complete, or it can't be run.
        SandboxFaultError, SandboxUnavailableError: nothing could be run.
    """
    task = _task(prompt, answer)
    try:
        said = _said(task, completion)
    except _UNREADABLE:
        said = None
    if said is None:
        return Grade(0.0, "not the assertion that is asked for, completed by a literal")
    given, expected = said
    verdict = code.sandbox().test_calls(task.source, f"assert f({given}) == ({expected})", "", ("f",))
    if verdict.broken:
        raise BrokenTestsError(verdict.reason)
    return Grade(1.0 if verdict.passed else 0.0, verdict.reason)


def as_completion(answer: str, prompt: str) -> str | None:
    """The assertion with `f`'s result filled in; None if an input is asked for, which would take a search."""
    task = _task(prompt, answer)
    if task.given is None:
        return None
    outcome = code.sandbox().run(f"{task.source}\nprint(repr(f({task.given})))")
    lines = outcome.stdout.decode(errors="replace").splitlines()
    if not (outcome.succeeded and lines):
        raise BrokenTestsError(f"the task's own function fails: {outcome.explain()}")
    return f"```python\nassert f({task.given}) == {lines[-1]}\n```"


def _task(prompt: str, answer: str) -> _Task:
    try:
        source = json.loads(answer)["functional"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BrokenTestsError(
            f'a cruxeval answer must be {{"functional": SOURCE}}, not {answer[:80]!r}'
        ) from error
    for line in map(str.strip, reversed(_ASKED.findall(prompt))):
        if line.startswith(_INPUT):
            return _Task(source, None, line.removeprefix(_INPUT))
        if line.endswith(_OUTPUT):
            return _Task(source, line.removeprefix("assert f(").removesuffix(_OUTPUT), None)
    raise BrokenTestsError(
        "the prompt has no assertion to complete, as `assert f(??) == 5` or `assert f(5) == ??`"
    )


def _said(task: _Task, completion: str) -> tuple[str, str] | None:
    """The source of the arguments and of the result in the completion; None if it gives neither."""
    text = after_thinking(completion)
    marked = next(
        (one for one in (last_fenced(text), tagged(text), boxed(text), last_line(text)) if one), None
    )
    if marked is None or len(marked) > _LONGEST:
        return None
    statements = ast.parse(marked).body
    claims = [one.test for one in statements if isinstance(one, ast.Assert)]
    if not claims:
        return _bare(task, marked, statements)
    if not (isinstance(claims[-1], ast.Compare) and len(claims[-1].ops) == 1):
        return None
    if not isinstance(claims[-1].ops[0], ast.Eq | ast.Is):
        return None
    left, right = claims[-1].left, claims[-1].comparators[0]
    if not _is_call_of_f(left):
        left, right = right, left
    if not (isinstance(left, ast.Call) and _is_call_of_f(left)):
        return None
    given = ", ".join([ast.unparse(one) for one in left.args] + [ast.unparse(one) for one in left.keywords])
    if task.given is not None:
        return (task.given, ast.unparse(right)) if _alike(given, task.given) and _literal(right) else None
    literal = all(map(_literal, left.args)) and all(one.arg and _literal(one.value) for one in left.keywords)
    expected = task.expected or ""
    return (given, expected) if literal and _alike(ast.unparse(right), expected) else None


def _bare(task: _Task, text: str, statements: list[ast.stmt]) -> tuple[str, str] | None:
    """A result alone, or arguments alone: `f(5)`."""
    if len(statements) != 1 or not isinstance(statements[0], ast.Expr):
        return None
    value = statements[0].value
    if task.given is not None:
        return (task.given, ast.unparse(value)) if _literal(value) else None
    if isinstance(value, ast.Call) and _is_call_of_f(value):
        whole = f"assert {text.strip()} == ({task.expected})"
        return _said(task, f"```python\n{whole}\n```")
    return None


def _is_call_of_f(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "f"


def _alike(one: str, other: str) -> bool:
    """Whether two argument lists, or two values, have the same source apart from formatting."""
    return ast.dump(ast.parse(f"f({one})")) == ast.dump(ast.parse(f"f({other})"))


def _literal(node: ast.expr) -> bool:
    """Whether this is safe to evaluate: constants, containers of them, `set()`, `float("inf")`, `"a" * 5`."""
    match node:
        case ast.Constant():
            return True
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return all(map(_literal, items))
        case ast.Dict(keys=keys, values=values):
            return all(key is not None and _literal(key) for key in keys) and all(map(_literal, values))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float() | complex())):
            return True
        case ast.BinOp(op=ast.Add() | ast.Sub(), left=left, right=ast.Constant(value=complex())):
            return isinstance(left, ast.Constant | ast.UnaryOp) and _literal(left)
        case ast.BinOp(
            op=ast.Mult(),
            left=ast.Constant(value=str() | bytes()) | ast.List(),
            right=ast.Constant(value=int(times)),
        ):
            return (
                times <= _MOST_REPEATS
                and _literal(node.left)
                and not any(isinstance(part, ast.BinOp) for part in ast.walk(node.left))
            )
        case ast.Call(func=ast.Name(id=name), args=[], keywords=[]):
            return name in _EMPTY
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            if isinstance(argument, ast.Constant):
                return name == "float" and isinstance(argument.value, str | int)
            return name in _OF_ONE and not isinstance(argument, ast.Call) and _literal(argument)
    return False
