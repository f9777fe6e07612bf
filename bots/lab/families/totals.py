"""Math: a sum with its running totals, `13+9-4=` → `22,18;18`. The level counts the operations."""

import numpy as np

from bots.lab.families.base import Problem


class RunningTotals:
    domain = "math"
    grader = "lab_math"
    max_level = 14

    def sample(self, level: int, rng: np.random.Generator) -> Problem:
        total = int(rng.integers(10, 100))
        prompt = str(total)
        totals = []
        for _ in range(level):
            # No zeros: skipping an operation must change the result.
            operand = int(rng.integers(1, 10))
            plus = bool(rng.integers(0, 2))
            prompt += f"{'+' if plus else '-'}{operand}"
            total += operand if plus else -operand
            totals.append(str(total))
        return Problem(f"{prompt}=", str(total), f"{','.join(totals)};{total}")
