"""Built-in graders pass the suite that ships for authors; broken ones do not."""

import pytest

from bots.graders.base import Grade
from bots.graders.conformance import CHECKS, Example, check_hostile_completions, check_right_beats_wrong

EXAMPLES = [
    Example("math", "What is 3 + 4?", "7", "It is \\boxed{7}.", "It is \\boxed{8}."),
    Example("exact", "Capital of France?", "Paris", "<answer>Paris</answer>", "<answer>Rome</answer>"),
    Example("0.9*math + 0.1*format_boxed", "What is 3 + 4?", "7", "It is \\boxed{7}.", "It is 8."),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_built_in(example, check):
    check(example)


def raises(prompt, answer, completion):
    return Grade(float(completion.split()[-1] == answer), "compared the last word")


def too_much(prompt, answer, completion):
    return Grade(2.0 if answer in completion else 0.0, "looked for the answer")


@pytest.mark.parametrize(
    ("grader", "check", "error"),
    [
        ("raises", check_hostile_completions, IndexError),
        ("too_much", check_right_beats_wrong, AssertionError),
    ],
)
def test_suite_catches(grader, check, error):
    with pytest.raises(error):
        check(Example(f"{__name__}:{grader}", "What is 3 + 4?", "7", "It is 7", "It is 8"))
