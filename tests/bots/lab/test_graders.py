import json

import numpy as np
import pytest

from bots.lab import stack_machine
from bots.lab.graders import GRADERS, grade_code, grade_logic, grade_math

TESTS = json.dumps(
    [
        {"in": {"x": 2, "y": 5}, "out": 25},
        {"in": {"x": -3, "y": 4}, "out": 0},
        {"in": {"x": 1, "y": -7}, "out": -28},
    ]
)


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("12,8;8", 1),
        ("11,8;8", 1),  # the final result counts, as in most graders of math
        (";8", 1),
        ("8", 0),  # no final result
        ("", 0),
        ("12,8;", 0),
        ("12,8;7", 0),
        ("12,8;8;", 0),
        ("12,8;-8", 0),
        ("12,8;8 ", 0),
        ("12,8;8=", 0),
        ("12,8;8,8", 0),
        ("12,8;٨", 0),  # int() would read this digit
        ("12,8;" + "8" * 10_000, 0),  # int() would refuse so many
    ],
)
def test_math(completion: str, reward: float) -> None:
    assert grade_math("3+9-4=", "8", completion).reward == reward


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("ACDF,ACFD", 1),
        ("ACFD", 1),
        ("ACFD,ACDF", 0),  # right once, but not at the end
        ("ACFD,", 0),
        ("ACF", 0),
        ("ACFDA", 0),
        ("", 0),
    ],
)
def test_logic(completion: str, reward: float) -> None:
    assert grade_logic("CADF:12,34>", "ACFD", completion).reward == reward


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("x3+y*", 1),
        ("yx3+*", 1),  # another program, as right
        ("xy*3y*+", 1),
        ("x12++y*", 1),
        ("x3y*+", 0),
        ("x3+y", 0),  # two values are left
        ("x3+y**", 0),  # one value too few
        ("", 0),
        ("0", 0),
        ("x3+z*", 0),  # no such input
        ("x3+y*>", 0),
        ("x3+y* ", 0),
        ("x3+y*" + "0+" * 200, 0),  # right, but longer than a program may be
    ],
)
def test_code_runs_the_program(completion: str, reward: float) -> None:
    assert grade_code("(x+3)*y>", TESTS, completion).reward == reward


def test_a_reason_says_what_is_wrong() -> None:
    assert "7" in grade_math("3+9-4=", "8", "12,8;7").reason
    assert "instruction 2, '+', needs two values" in grade_code("(x+3)*y>", TESTS, "x+").reason


def test_no_completion_makes_a_grader_raise() -> None:
    rng = np.random.default_rng(0)
    answers = {"lab_math": "8", "lab_logic": "ACFD", "lab_code": TESTS}
    alphabet = "0123456789+-*();,xyzABCDF \n\x00é٣²\U0001f600"
    for _ in range(3000):
        text = "".join(alphabet[i] for i in rng.integers(len(alphabet), size=int(rng.integers(0, 40))))
        for name, grader in GRADERS.items():
            assert grader("", answers[name], text).reward in (0.0, 1.0)


def test_values_of_the_largest_program_stay_small_enough_to_be_fast() -> None:
    half = stack_machine.MAX_INSTRUCTIONS // 2
    program = "9" * half + "*" * (half - 1)
    assert stack_machine.run(program, {}) == 9**half
    with pytest.raises(stack_machine.ProgramError, match="at most"):
        stack_machine.run("9" * (stack_machine.MAX_INSTRUCTIONS + 1), {})
