"""Programs, run in the sandbox against the task's tests. The reward is 1 if every test passes, else 0.

The expected outputs of standard-input tests never enter the sandbox; those of function-call tests are in a different
process from the solution (see docs/sandbox.md).
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext

from bots.graders.base import Grade
from bots.graders.code_tests import BrokenTestsError, CallTests, StdioTests, parse
from bots.graders.extract import after_thinking, fenced
from bots.sandbox import Limits, Sandbox, SandboxUnavailableError

_PYTHON = {"", "python", "python3", "py"}
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.(\d*))?|\.(\d+))(?:[eE][+-]?\d{1,9})?")  # one way to match, so linear
_INTEGER = re.compile(r"[+-]?\d+")
TOLERANCE = Decimal("1e-6")
"""Relative, between numbers of which at least one is not an integer. Never absolute: 0.0000012 is not 0.0000014."""
_SHOWN = 6  # an expected number with at least this many decimals counts as rounded


@dataclass(frozen=True, slots=True)
class CodeOptions:
    """How programs are graded in this process.

    limits: for one program. A standard-input test is one program; all function calls of a task are one program.
    total_seconds: for all tests of one completion; tests not finished by then count as too slow.
    unsafe_code_without_sandbox: run model-written programs with this user's rights. Off by default.
    """

    limits: Limits = field(default_factory=Limits)
    total_seconds: float = 20.0
    unsafe_code_without_sandbox: bool = False


_options = CodeOptions()
_sandbox: tuple[int, Sandbox] | None = None  # with the id of its process


def configure(options: CodeOptions) -> None:
    """Use `options` from now on in this process."""
    global _options
    close()
    _options = options


def preflight() -> None:
    """Start a sandbox and run a program in it.

    Raises SandboxUnavailableError, which says how to install what is missing.
    """
    # Imports that no program has used yet: the library must be readable from inside.
    outcome = sandbox().run("import pickle, zlib\nprint(6 * 7)")
    if outcome.stdout != b"42\n":
        raise SandboxUnavailableError(f"the sandbox starts, but does not run programs: {outcome.explain()}")
    close()


def close() -> None:
    """End this process's sandbox; the next grade starts a new one."""
    global _sandbox
    if _sandbox is not None and _sandbox[0] == os.getpid():
        _sandbox[1].close()
    _sandbox = None


def grade(prompt: str, answer: str, completion: str) -> Grade:
    """Run the completion's code against the tests in `answer` (formats: `bots.graders.code_tests`).

    Raises:
        BrokenTestsError: the tests can't be used.
        SandboxFaultError, SandboxUnavailableError: nothing could be run.
    """
    tests = parse(answer)
    solution = extract(completion)
    if solution is None:
        return Grade(0.0, "no complete code block")
    if isinstance(tests, CallTests):
        return _grade_calls(tests, solution)
    return _grade_stdio(tests, solution)


def _grade_stdio(tests: StdioTests, solution: str) -> Grade:
    deadline = time.monotonic() + _options.total_seconds
    count = len(tests.inputs)
    for number, (given, expected) in enumerate(zip(tests.inputs, tests.outputs, strict=True), start=1):
        if time.monotonic() > deadline:
            return Grade(0.0, f"time limit exceeded after {number - 1} of {count} tests")
        outcome = sandbox().run(solution, given)
        if not outcome.succeeded:
            return Grade(0.0, f"test {number} of {count}: {outcome.explain()}")
        actual = outcome.stdout.decode(errors="replace")
        if not same_output(actual, expected):
            said, wanted = _short(actual), _short(expected)
            return Grade(0.0, f"test {number} of {count}: printed {said}, expected {wanted}")
    return Grade(1.0, f"passed {count} tests")


def _grade_calls(tests: CallTests, solution: str) -> Grade:
    verdict = sandbox().test_calls(solution, tests.for_solution(solution), tests.prefix, tests.names)
    if verdict.broken:
        raise BrokenTestsError(verdict.reason)
    return Grade(1.0 if verdict.passed else 0.0, verdict.reason)


def extract(completion: str) -> str | None:
    """The completion's Python code: all fenced blocks after the thinking, joined as GURU does; None without one.

    Blocks in other languages (```text, ```bash) are ignored.
    """
    blocks = [body for language, body in fenced(after_thinking(completion)) if language.lower() in _PYTHON]
    return "\n".join(blocks) if any(block.strip() for block in blocks) else None


def same_output(actual: str, expected: str) -> bool:
    """Whether two outputs are equal, line by line and word by word.

    Blanks between words and at the ends are ignored, as is case in yes and no. Integers must be equal. Other numbers
    must be within a millionth of the expected one, or equal to it after rounding to its decimals if it has six or more.
    """
    actual_lines, expected_lines = actual.strip().splitlines(), expected.strip().splitlines()
    if len(actual_lines) != len(expected_lines):
        return False
    return all(map(_same_line, actual_lines, expected_lines))


def _same_line(actual: str, expected: str) -> bool:
    if actual == expected:
        return True
    actual_words, expected_words = actual.split(), expected.split()
    return len(actual_words) == len(expected_words) and all(map(_same_word, actual_words, expected_words))


def _same_word(actual: str, expected: str) -> bool:
    if actual == expected:
        return True
    if expected.lower() in ("yes", "no"):
        return actual.lower() == expected.lower()
    number = _NUMBER.fullmatch(expected)
    if not (number and _NUMBER.fullmatch(actual)):
        return False
    if _INTEGER.fullmatch(actual) and _INTEGER.fullmatch(expected):
        return _integer(actual) == _integer(expected)
    with localcontext(Context(prec=60, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])):
        one, other = Decimal(actual), Decimal(expected)
        if (
            _INTEGER.fullmatch(expected) and abs(other) >= 2**53
        ):  # 3.0 counts as 3, but 1e23 does not equal an integer near it
            return one == other
        if abs(one - other) <= TOLERANCE * abs(other):
            return True
        decimals = number[1] or number[2] or ""
        return len(decimals) >= _SHOWN and abs(one - other) <= Decimal(5).scaleb(-len(decimals) - 1)


def _integer(text: str) -> str:
    digits = text.lstrip("+-").lstrip("0") or "0"
    return "-" + digits if text[0] == "-" and digits != "0" else digits


def _short(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 60 else text[:57] + "…")


def sandbox() -> Sandbox:
    """This process's sandbox, with the options set by `configure`."""
    global _sandbox
    if _sandbox is None or _sandbox[0] != os.getpid():  # a forked process must not share its parent's
        options = _options
        box = Sandbox(options.limits, unsafe_without_isolation=options.unsafe_code_without_sandbox)
        _sandbox = (os.getpid(), box)
    return _sandbox[1]
