"""The language of the code family: programs for a stack of integers, one character per instruction.

A letter pushes that input, a digit pushes itself, and `+`, `-`, `*` replace the two topmost values by their
result. A program ends with exactly one value on the stack. No instruction loops or copies, so a program's
time and the size of its values grow only with its length, and `MAX_INSTRUCTIONS` bounds both.
"""

import operator
from collections.abc import Callable, Mapping

MAX_INSTRUCTIONS = 256
OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


class ProgramError(ValueError):
    """Not a valid program: an unknown instruction, too few values, values left over, too long."""


def run(program: str, inputs: Mapping[str, int]) -> int:
    """Run `program` on `inputs` (letter → integer) and return the one value it leaves.

    Raises ProgramError, with the instruction's place (from 1), where the program is at fault.
    """
    if len(program) > MAX_INSTRUCTIONS:
        raise ProgramError(f"{len(program)} instructions, at most {MAX_INSTRUCTIONS} are allowed")
    stack: list[int] = []
    for place, instruction in enumerate(program, start=1):
        if instruction in OPERATIONS:
            if len(stack) < 2:
                raise ProgramError(
                    f"instruction {place}, {instruction!r}, needs two values, found {len(stack)}"
                )
            right, left = stack.pop(), stack.pop()
            stack.append(OPERATIONS[instruction](left, right))
        elif instruction in inputs:
            stack.append(inputs[instruction])
        elif instruction in "0123456789":
            stack.append(int(instruction))
        else:
            raise ProgramError(f"instruction {place}, {instruction!r}, is unknown")
    if len(stack) != 1:
        raise ProgramError(f"{len(stack)} values are left, one is expected")
    return stack[0]
