"""No hostile solution passes function-call tests, in any of the forms that GURU has."""

import pytest

from bots.sandbox import Sandbox
from tests.bots.sandbox.hostile_solutions import SOLUTIONS

PRIME = """
def f(n):
    k = 1
    while n:
        k += 1
        n -= all(k % d for d in range(2, int(k ** .5) + 1))
    return k
"""
# The first answer can be guessed (a constant may be right once), the others can't.
ASSERTS = "assert f(3000) == 27449\nassert f(1) == 2\nassert f(1234) == 10061\n"
CHECK = """
def check(candidate):
    assert candidate(1000) == 7919
    assert candidate(1) == 2
    assert abs(candidate(99) - 523) < 1e-6
    assert [candidate(n) for n in range(1, 5)] == [2, 3, 5, 7]
check(f)
"""
DEEP_EQ = """
_inputs = [[1000], [1], [1234]]
_outputs = [[7919], [2], [10061]]
import math
def _deep_eq(a, b, tol=1e-5):
    if isinstance(a, float) or isinstance(b, float):
        return math.isclose(a, b, rel_tol=tol, abs_tol=tol)
    if isinstance(a, (list, tuple)):
        if len(a) != len(b): return False
        return all(_deep_eq(x, y, tol) for x, y in zip(a, b))
    return a == b

for i, o in zip(_inputs, _outputs):
    assert _deep_eq(f(*i), o[0] if len(o) == 1 else tuple(o))
"""
TESTS = {"asserts": ASSERTS, "check": CHECK, "deep_eq": DEEP_EQ}


@pytest.mark.parametrize("form", TESTS)
def test_the_right_solution_passes(form: str, sandbox: Sandbox) -> None:
    verdict = sandbox.test_calls(PRIME, TESTS[form])
    assert verdict.passed, verdict.reason


@pytest.mark.parametrize("name", SOLUTIONS)
def test_hostile_solution_fails(name: str, sandbox: Sandbox) -> None:
    for tests in TESTS.values():
        verdict = sandbox.test_calls(SOLUTIONS[name], tests)
        assert not verdict.passed
        assert not verdict.broken, (
            verdict.reason
        )  # it is the solution that is at fault, so the sample is graded
        if "time limit" in verdict.reason:
            break  # the other forms would only wait once more
    assert sandbox.test_calls(PRIME, "assert f(5) == 11").passed


def test_there_are_at_least_forty() -> None:
    assert len(SOLUTIONS) >= 40
