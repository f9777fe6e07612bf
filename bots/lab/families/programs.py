"""Code: write a stack program for an expression, `(x+3)*y>` → `x3+y*`. The level counts the operators.

The answer holds tests, not a program: a JSON list of `{"in": {letter: integer}, "out": integer}`. Any
program that passes all of them is right (`yx3+*` too).
"""

import json
from dataclasses import dataclass

import numpy as np

from bots.lab import stack_machine
from bots.lab.families.base import Problem

VARIABLES = "uvwxyz"
CONSTANTS = "23456789"
TESTS = 6
PRECEDENCE = {"+": 1, "-": 1, "*": 2}


@dataclass(frozen=True, slots=True)
class _Expression:
    infix: str
    postfix: str
    precedence: int


class StackPrograms:
    domain = "code"
    grader = "lab_code"
    max_level = 14

    def sample(self, level: int, rng: np.random.Generator) -> Problem:
        while True:
            expression = _draw(level, rng)
            tests = _tests(expression.postfix, rng)
            # An expression like x-x equals a constant, so its tests would prove nothing.
            if len({test["out"] for test in tests}) > TESTS // 2:
                break
        answer = json.dumps(tests, separators=(",", ":"))
        return Problem(f"{expression.infix}>", answer, expression.postfix)


def _draw(operators: int, rng: np.random.Generator) -> _Expression:
    """A random expression, with no more parentheses than it needs."""
    if operators == 0:
        alphabet = CONSTANTS if rng.random() < 0.25 else VARIABLES
        symbol = alphabet[int(rng.integers(len(alphabet)))]
        return _Expression(symbol, symbol, precedence=3)
    operator = "+-*"[int(rng.integers(3))]
    precedence = PRECEDENCE[operator]
    left_operators = int(rng.integers(operators))
    left = _draw(left_operators, rng)
    right = _draw(operators - 1 - left_operators, rng)
    left_infix = left.infix if left.precedence >= precedence else f"({left.infix})"
    # All three operators associate to the left, so an equal precedence on the right needs parentheses.
    right_infix = right.infix if right.precedence > precedence else f"({right.infix})"
    return _Expression(
        f"{left_infix}{operator}{right_infix}", f"{left.postfix}{right.postfix}{operator}", precedence
    )


def _tests(program: str, rng: np.random.Generator) -> list[dict[str, object]]:
    letters = sorted(set(program) & set(VARIABLES))
    tests: list[dict[str, object]] = []
    for _ in range(TESTS):
        inputs = {letter: int(rng.integers(-9, 10)) for letter in letters}
        tests.append({"in": inputs, "out": stack_machine.run(program, inputs)})
    return tests
