"""The formats of a code task's answer: the test formats of GURU and of its source data sets.

GURU, standard input and output (LiveCodeBench, PrimeIntellect, TACO): `{"inputs": [...], "outputs": [...]}`.
GURU, LeetCode and function calls (HumanEval and MBPP too): `{"functional": "assert …"}`, optionally with a `prefix`
(code provided by the task, which a solution may use) and an `entry_point` (the name that a solution defines).
As published by TACO, APPS and PRIME: `{"fn_name": …, "inputs": [[argument, …], …], "outputs": [...]}`.
As published by LiveCodeBench: `[{"testtype": "stdin" or "functional", "input", "output", "metadata"}, …]`.
As published by PrimeIntellect: `[{"type": "stdin_stdout" or "function_call", "fn_name", "input", "output"}, …]`.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from typing import Any


class BrokenTestsError(ValueError):
    """The task's tests are unusable: the data is at fault, not the completion."""


@dataclass(frozen=True, slots=True)
class StdioTests:
    """Standard inputs of a script and the outputs they must produce."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallTests:
    """Python test code that calls the solution.

    source: the tests; `_PLACE` in them stands for the function's name, which may be a method of `Solution`.
    prefix: the task's own code, for both the solution and the tests.
    names: the names that the task says the solution defines, if any.
    """

    source: str
    prefix: str = ""
    function: str | None = None
    names: tuple[str, ...] = ()

    def for_solution(self, solution: str) -> str:
        """The test code, adapted to the form of this solution."""
        if self.function is None:
            return self.source
        method = re.search(r"^class Solution\b", solution, re.MULTILINE)
        name = f"Solution().{self.function}" if method else self.function
        return self.source.replace(_PLACE, name)


_PLACE = "__the_function__"
# The comparison in GURU's own function-call tests, treating lists and tuples alike, without its absolute tolerance.
_CALLS = """\
import math

def _same(a, b):
    if isinstance(a, float) or isinstance(b, float):
        if type(a) not in (int, float) or type(b) not in (int, float):
            return False
        if isinstance(b, int):  # a float for an integer: of rounding errors only, and not where floats have gaps
            return a == b or abs(b) < 2**53 and math.isclose(a, b, rel_tol=1e-9)
        return a == b or math.isclose(a, b, rel_tol=1e-5) or (b == 0.0 and abs(a) <= 1e-12)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(_same, a, b))
    return a == b

for _arguments, _expected in {cases}:
    _result = __the_function__(*_arguments)
    assert _same(_result, _expected) or (
        {unwrap} and isinstance(_expected, list) and len(_expected) == 1 and _same(_result, _expected[0]))
"""


def parse(answer: str) -> StdioTests | CallTests:
    """The tests in a task's answer.

    Raises:
        BrokenTestsError: not JSON, or not in a known format; says what was found.
    """
    try:
        data = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise BrokenTestsError(f"the tests are not JSON: {error}") from error
    if isinstance(data, list):
        return _from_list(data)
    if not isinstance(data, dict):
        raise BrokenTestsError(f"the tests are a {type(data).__name__}, not an object or a list")
    if "functional" in data:
        source, prefix = data["functional"], data.get("prefix") or ""
        if not isinstance(source, str) or not isinstance(prefix, str) or not source.strip():
            raise BrokenTestsError("`functional` (and `prefix`) must be Python source")
        names = [data[key] for key in ("entry_point", "fn_name") if isinstance(data.get(key), str)]
        return CallTests(source, prefix, names=tuple(name.partition(".")[0] for name in names))
    if "inputs" in data and "outputs" in data:
        inputs, outputs = data["inputs"], data["outputs"]
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            raise BrokenTestsError("`inputs` and `outputs` must be lists of the same length")
        if not inputs:
            raise BrokenTestsError("there is no test: `inputs` is empty")
        if data.get("fn_name"):
            return _calls(str(data["fn_name"]), list(zip(inputs, outputs, strict=True)), unwrap=True)
        return StdioTests(tuple(map(_text, inputs)), tuple(map(_text, outputs)))
    raise BrokenTestsError(
        f"no known test format: the keys are {sorted(data)}, not `functional` or `inputs` and `outputs`"
    )


def _from_list(tests: list[Any]) -> StdioTests | CallTests:
    if not tests or not all(isinstance(test, dict) for test in tests):
        raise BrokenTestsError("a list of tests must have at least one, each an object")
    first = tests[0]
    kind = first.get("type") or first.get("testtype")
    try:
        if kind in ("stdin_stdout", "stdin"):
            texts = [(_text(test["input"]), _text(test["output"])) for test in tests]
            inputs, outputs = zip(*texts, strict=True)
            return StdioTests(inputs, outputs)
        if kind == "function_call":
            cases = [(test["input"], test["output"]) for test in tests]
            return _calls(str(first["fn_name"]), cases, unwrap=True)
        if kind == "functional":
            name = first.get("func_name") or first["metadata"]["func_name"]
            cases = [
                ([_literal(line) for line in test["input"].split("\n") if line], _literal(test["output"]))
                for test in tests
            ]
            return _calls(str(name), cases, unwrap=False)
    except (KeyError, TypeError, AttributeError) as error:
        raise BrokenTestsError(f"a test of type {kind!r} lacks or garbles {error}") from error
    raise BrokenTestsError(f"unknown type of test {kind!r}: stdin, stdin_stdout, functional, function_call")


def _calls(name: str, cases: list[tuple[Any, Any]], *, unwrap: bool) -> CallTests:
    if not name.isidentifier():
        raise BrokenTestsError(f"{name!r} is not a function's name")
    if not all(isinstance(arguments, list) for arguments, _ in cases):
        raise BrokenTestsError("the input of a function-call test must be the list of its arguments")
    source = _CALLS.replace("{cases}", repr(cases)).replace("{unwrap}", str(unwrap))
    return CallTests(source, function=name, names=(name, "Solution"))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return value if isinstance(value, str) else str(value)


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass  # not JSON, but perhaps Python: 'single quotes', None, True
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise BrokenTestsError(f"{text[:80]!r} is not a value") from error
