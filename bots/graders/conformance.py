"""Checks that every grader must pass. Its author runs them in a test file:

import pytest
from bots.graders.conformance import CHECKS, Example

EXAMPLE = Example("mine:grade", prompt="What is 3 + 4?", answer="7", right="It is 7.", wrong="It is 8.")

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_my_grader(check):
    check(EXAMPLE)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bots.graders.base import Grade
from bots.graders.registry import resolve

HOSTILE = (
    "",
    " \n\t",
    "\x00\ud800",
    "(" * 5_000,
    "\\boxed{" * 500,
    "<answer>" * 500,
    "9" * 20_000,
    "nan",
    "inf",
    "1e999999",
    "```python\n" + "x = 1\n" * 500,
    "ещё одно число ٣ 七 ½ 🙂",
)
"""Completions that a model writes sooner or later. None of them is right."""
LONGEST_REASON = 500


@dataclass(frozen=True)
class Example:
    """A task for the grader called `name`, with one right and one wrong completion."""

    name: str
    prompt: str
    answer: str
    right: str
    wrong: str

    def grade(self, completion: str) -> Grade:
        """Grade a completion and check the form of the verdict."""
        grade = resolve(self.name)(self.prompt, self.answer, completion)
        shown = completion[:40]
        if not isinstance(grade, Grade):
            kind = type(grade).__name__
            raise AssertionError(f"{self.name} returns {kind} for {shown!r}; it must be a Grade")  # noqa: TRY004
        if isinstance(grade.reward, bool) or not math.isfinite(grade.reward) or not 0 <= grade.reward <= 1:
            raise AssertionError(
                f"{self.name} gives {shown!r} the reward {grade.reward}; it must be in [0, 1]"
            )
        if not isinstance(grade.reason, str) or not grade.reason.strip() or "\n" in grade.reason:
            raise AssertionError(
                f"{self.name} gives {shown!r} the reason {grade.reason!r}; it must be one line"
            )
        if len(grade.reason) > LONGEST_REASON:
            raise AssertionError(f"{self.name} gives {shown!r} a reason of {len(grade.reason)} characters")
        return grade


def check_right_beats_wrong(example: Example) -> None:
    """The right completion gets a higher reward than the wrong one."""
    right, wrong = example.grade(example.right).reward, example.grade(example.wrong).reward
    if right <= wrong:
        raise AssertionError(
            f"{example.name} gives {right} to the right completion and {wrong} to the wrong one"
        )


def check_hostile_completions(example: Example) -> None:
    """No completion makes the grader raise, and no hostile completion scores as high as the right one."""
    best = example.grade(example.right).reward
    for completion in HOSTILE:
        if (reward := example.grade(completion).reward) >= best:
            raise AssertionError(
                f"{example.name} gives {completion[:40]!r} the reward {reward}, as if it were right"
            )


def check_same_verdict_twice(example: Example) -> None:
    """The verdict depends only on the arguments."""
    for completion in (example.right, example.wrong):
        if example.grade(completion) != example.grade(completion):
            raise AssertionError(f"{example.name} grades the same completion differently the second time")


CHECKS: tuple[Callable[[Example], None], ...] = (
    check_right_beats_wrong,
    check_hostile_completions,
    check_same_verdict_twice,
)
