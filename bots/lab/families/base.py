"""The interface of a lab task family: a generator of problems, graded by level."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Problem:
    """One task with a worked solution.

    `answer` is what the grader needs (the pool's column); `solution` is one completion that the grader
    accepts, with its intermediate results, and is what supervised training imitates.
    """

    prompt: str
    answer: str
    solution: str


class Family(Protocol):
    """A family of tasks. `domain` and `grader` are the pool's columns; levels run from 1 to `max_level`."""

    domain: str
    grader: str
    max_level: int

    def sample(self, level: int, rng: np.random.Generator) -> Problem:
        """Draw one problem of `level`; the same state of `rng` gives the same problem."""
        ...
