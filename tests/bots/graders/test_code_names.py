"""Whose a name is in function-call tests, what travels between tests and solution, and what never decides anything."""

import json
import os
import time
from collections.abc import Callable

import pytest

from bots.graders import code
from bots.graders.base import LONGEST_REASON, printable
from bots.graders.code import grade
from bots.graders.code_tests import BrokenTestsError
from tests.bots.graders.code_tasks import completion
from tests.bots.graders.code_whose_names import CHEATED, CHEATS, NAMES, answer


@pytest.mark.parametrize("case", range(len(NAMES)), ids=lambda case: NAMES[case][0].partition("\n")[0][:40])
def test_the_right_solution_passes_and_the_wrong_one_fails(case: int) -> None:
    tests, prefix, right, wrong = NAMES[case]
    good = grade("", answer(tests, prefix), completion(right))
    assert good.reward == 1.0, good.reason
    assert grade("", answer(tests, prefix), completion(wrong)).reward == 0.0


@pytest.mark.parametrize("tests", CHEATED)
def test_no_object_of_the_solution_decides_a_comparison(tests: str) -> None:
    for name, cheat in CHEATS.items():
        verdict = grade("", answer(tests), completion(cheat))
        assert verdict.reward == 0.0, (name, verdict.reason)


def test_a_solution_that_defines_nothing_fails_whatever_error_is_expected() -> None:
    tests = answer("try:\n    f(-1)\nexcept Exception:\n    pass\nelse:\n    assert False")
    assert grade("", tests, completion("def f(n): raise ValueError(n)")).reward == 1.0
    assert grade("", tests, completion("x = 1")).reward == 0.0


def test_the_task_may_say_what_the_solution_defines() -> None:
    tests = json.dumps(
        {"functional": "r = [gcd(4, 6), lcm(4, 6)]\nassert r == [2, 12]", "entry_point": "lcm"}
    )
    assert grade("", tests, completion("from math import lcm")).reward == 1.0
    assert grade("", tests, completion("def lcm(a, b): return 1")).reward == 0.0


@pytest.mark.parametrize(
    "tests",
    [
        "assert f(1) == 1 and Vec(1) == Vec(1)",  # which only the solution could compare
        "import types\nassert f(types) == 1",  # nothing of the tests' modules is lent
        "r = [gcd(4, 6), lcm(4, 6)]\nassert r == [2, 12]",  # it does not say which of the two is asked for
    ],
)
def test_what_can_t_be_told_is_the_tests_fault(tests: str) -> None:
    solution = "class Vec:\n    def __init__(self, x): self.x = x\ndef f(x): return 1"
    with pytest.raises(BrokenTestsError):
        grade("", answer(tests), completion(solution))


HONEST_SCRIPTS = {
    "closes stdout": "import sys\nprint(13)\nsys.stdout.close()",
    "replaces stdout": "import sys, io\nprint(13)\nsys.stdout = io.StringIO()\nprint(14)",
    "own writer": "import sys\nsys.stdout = open(1, 'w')\nprint(13)",
    "reads /dev/stdin": "print(open('/dev/stdin').read().strip())",
    "reads it as a path": "from pathlib import Path\nprint(Path('/dev/stdin').read_text().strip())",
    "writes /dev/stdout": "with open('/dev/stdout', 'w') as out: out.write('13\\n')",
    "forty threads": "from threading import Thread\nout = []\n"
    "ts = [Thread(target=lambda: (__import__('time').sleep(.05), out.append(1))) for _ in range(40)]\n"
    "[t.start() for t in ts]\n[t.join() for t in ts]\nprint(len(out) - 27)",
}


@pytest.mark.parametrize("name", HONEST_SCRIPTS)
def test_an_honest_script_passes(name: str) -> None:
    tests = json.dumps({"inputs": ["13\n"], "outputs": ["13\n"]})
    verdict = grade("", tests, completion(HONEST_SCRIPTS[name]))
    assert verdict.reward == 1.0, verdict.reason


@pytest.mark.parametrize(
    ("expected", "right", "wrong"),
    [
        ("3", "3.0", "inf"),
        ("7" * 400, "7" * 400, "0"),
        ("7" * 400, "7" * 400, "1e399"),
        ("2880067194370816120", "2880067194370816120", "2.88006e18"),
        ("0.0000012", "0.0000012000001", "0.0000014"),
        ("1.6e-19", "0.16e-18", "3.2e-19"),
        ("0.333333", "0.3333333333", "0.33334"),
        ("0.000000", "-0.0000000001", "0.00001"),
        ("1e300", "1.0000000001e300", "1e301"),
        ("nan", "nan", "0"),
    ],
)
def test_numbers_are_equal_by_their_size(expected: str, right: str, wrong: str) -> None:
    assert code.same_output(right, expected)
    assert not code.same_output(wrong, expected)


def test_a_float_does_not_stand_for_a_big_integer() -> None:
    def passes(result: object, expected: object) -> bool:
        tests = json.dumps({"fn_name": "f", "inputs": [[1]], "outputs": [expected]})
        return grade("", tests, completion(f"def f(n): return {result!r}")).reward == 1.0

    assert passes(3.0, 3)
    assert passes(2.9999999999, 3)
    assert not passes(2.88006e18, 2880067194370816120)
    assert not passes(2.99999, 3)
    assert not passes(1e308, 3.0)
    assert not passes(1e-6, 2e-6)
    assert passes(1e-17, 0.0)


@pytest.mark.parametrize(
    "work",
    [
        lambda n: code.extract("```python\nx\n```text" * n),
        lambda n: code.same_output("1" * n + "x", "27449"),
        lambda n: code.same_output("." + "1" * n + "x", "1.5"),
        lambda n: code.same_output("27449", "1" * n + "e"),
    ],
)
def test_what_a_program_prints_is_read_in_linear_time(work: Callable[[int], object]) -> None:
    """Four times the text takes about four times the time; a quadratic expression would take sixteen."""

    def seconds(size: int) -> float:
        def once() -> float:
            start = time.process_time()
            work(size)
            return time.process_time() - start

        return min(once() for _ in range(3))

    assert seconds(80_000) < 8 * seconds(20_000) + 0.05


def test_a_reason_is_valid_bounded_and_printable() -> None:
    said = completion("raise ValueError('\\udcff\\x00\\x1b[31m' + 'x' * 9999)")
    for tests in (answer("assert f(1) == 1"), json.dumps({"inputs": [""], "outputs": ["1"]})):
        reason = printable(grade("", tests, said).reason)
        reason.encode()
        assert len(reason) <= LONGEST_REASON
        assert all(char.isprintable() for char in reason.replace("\n", ""))
    assert printable("a\x00b\udcffc") == "a\\x00b\\udcffc"


def test_a_process_with_many_open_files_lends_none_of_them() -> None:
    from bots.sandbox import Sandbox

    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        with Sandbox() as sandbox:
            listing = sandbox.run(
                "import os\nopen_ = []\nfor n in range(4096):\n    try: os.fstat(n)\n    except OSError: continue\n"
                "    open_.append(n)\nprint(open_)"
            )
        assert listing.stdout in (b"[0, 1, 2]\n", b"[0, 1, 2, 3]\n"), (listing.stdout, listing.stderr)
    finally:
        for fd in held:
            os.close(fd)
