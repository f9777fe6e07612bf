"""Logic: four items in a row, a list of swaps of two places, and the row after each swap.

`CADF:12,34>` → `ACDF,ACFD` (places count from 1). The level counts the swaps. A blind guess of the last row
is right once in 24.
"""

import numpy as np

from bots.lab.families.base import Problem

ITEMS = "ABCDEF"
PLACES = 4


class Swaps:
    domain = "logic"
    grader = "lab_logic"
    max_level = 12

    def sample(self, level: int, rng: np.random.Generator) -> Problem:
        row = [ITEMS[i] for i in rng.permutation(len(ITEMS))[:PLACES]]
        start = "".join(row)
        swaps: list[str] = []
        rows: list[str] = []
        for _ in range(level):
            i, j = sorted(int(place) for place in rng.permutation(PLACES)[:2])
            row[i], row[j] = row[j], row[i]
            swaps.append(f"{i + 1}{j + 1}")
            rows.append("".join(row))
        return Problem(f"{start}:{','.join(swaps)}>", rows[-1], ",".join(rows))
