"""The lab's graders: reward 1 for a right answer, else 0, with the reason. No completion makes them raise.

A completion comes without its end-of-sequence token. They are pure and fast (microseconds), so they need no
sandbox: programs run on `bots.lab.stack_machine`, which cannot loop.
"""

import json
import re

from bots.graders.base import Grade
from bots.lab import stack_machine

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_RIGHT = "right"


def grade_math(prompt: str, answer: str, completion: str) -> Grade:
    """The integer after the last `;` must be `answer`; the running totals before it do not count."""
    _, separator, final = completion.rpartition(";")
    if not separator:
        return Grade(0.0, "no final result after ';'")
    if not _INTEGER.fullmatch(final):
        return Grade(0.0, f"the final result {final[:20]!r} is not an integer")
    if int(final) != int(answer):
        return Grade(0.0, f"the final result is {final}, not {answer}")
    return Grade(1.0, _RIGHT)


def grade_logic(prompt: str, answer: str, completion: str) -> Grade:
    """The row after the last `,` must be `answer`; the rows before it do not count."""
    final = completion.rpartition(",")[2]
    if final != answer:
        return Grade(0.0, f"the last row is {final[:20]!r}, not {answer}")
    return Grade(1.0, _RIGHT)


def grade_code(prompt: str, answer: str, completion: str) -> Grade:
    """The completion, run as a stack program, must pass every test in `answer` (see `families.programs`)."""
    for number, test in enumerate(json.loads(answer), start=1):
        try:
            out = stack_machine.run(completion, test["in"])
        except stack_machine.ProgramError as error:
            return Grade(0.0, f"not a program: {error}")
        if out != test["out"]:
            return Grade(0.0, f"test {number}: another result than {test['out']}")
    return Grade(1.0, _RIGHT)


GRADERS = {"lab_math": grade_math, "lab_logic": grade_logic, "lab_code": grade_code}
