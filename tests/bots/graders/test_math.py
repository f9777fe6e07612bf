"""The math grader on its known pairs, in several forms of completion."""

import threading

import pytest

from bots.graders import Grade, resolve
from tests.bots.graders.math_pairs import RIGHT, WRONG

grade = resolve("math")
FORMS = [
    "Thus the result is \\boxed{%s}.",
    "<think>Maybe \\boxed{77}?</think>We get\n\\[\\boxed{%s}\\]",
    "So I say <answer>%s</answer>",
    "It follows that the final answer is: %s",
]


@pytest.mark.parametrize(("answer", "said"), RIGHT)
def test_right(answer: str, said: str) -> None:
    assert grade("", answer, FORMS[0] % said).reward == 1.0


@pytest.mark.parametrize(("answer", "said"), WRONG, ids=range(len(WRONG)))
def test_wrong(answer: str, said: str) -> None:
    assert grade("", answer, FORMS[0] % said).reward == 0.0


@pytest.mark.parametrize("form", FORMS[1:])
def test_other_forms(form: str) -> None:
    wrong = [pair for pair in RIGHT if grade("", pair[0], form % pair[1]).reward != 1.0]
    # After "the answer is", a sentence's end and its answer's can't always be told apart.
    assert len(wrong) <= (0.05 * len(RIGHT) if "is:" in form else 0), wrong
    assert [pair for pair in WRONG[:60] if grade("", pair[0], form % pair[1]).reward != 0.0] == []


UNMARKED = [
    ("12", "3 times 4 gives 12", 1.0),
    ("0x49f1", "It is 0x49f1 in hexadecimal.", 1.0),
    ("0", "It is 0x49f1 in hexadecimal.", 0.0),
    ("1010", "It is 1010_3.", 0.0),
    ("12", "We have 3 apples and 4 pears, so 7.", 0.0),
    ("1/2", "The probability is 1/2", 1.0),
    (r"\frac{1}{2}", r"so we get $\frac{1}{2}$.", 1.0),
    ("1,000", "In total 1,000 people came.", 1.0),
    ("-4", "hence x = -4", 1.0),
    ("4", "hence x = -4", 0.0),
    ("12", "12 is wrong, it is 13", 0.0),
    ("12", "<think>12</think> I do not know", 0.0),
    ("12", "#### 12", 1.0),
    ("12", "**Answer:** 12", 1.0),
    ("12", "The answer is 12. I am sure.", 1.0),
    ("12", r"\boxed{11} no wait, \boxed{12}", 1.0),
    ("12", r"\boxed{12} no wait, \boxed{11}", 0.0),
    ("12", r"\boxed{12} or \boxed{13}", 0.0),
    ("12", r"\boxed{13} or \boxed{12}", 0.0),
    ("12", r"\boxed{12}\boxed{13}", 0.0),
    ("12", r"$\boxed{13}$, $\boxed{12}$", 0.0),
    ("12", "\\[\\boxed{13}\\]\n\\[\\boxed{12}\\]", 0.0),
    ("12", r"\boxed{12}\boxed{12}", 1.0),
    ("12, 13", r"\boxed{12} and \boxed{13}", 1.0),
    ("12", r"\boxed{\boxed{12} or 13}", 0.0),
    ("12", r"\boxed{13 or \boxed{12}}", 0.0),
    ("12", r"\boxed{\boxed{\boxed{12}}}", 1.0),
    ("12", r"<answer>\boxed{12} or \boxed{13}</answer>", 0.0),
    ("12", "The answer is 12 or 13.", 0.0),
    ("12", "The answer is not 12.", 0.0),
    ("12", "The answer is 13. No, the answer is 12.", 1.0),
    ("12", "The answer is 12. No, the answer is 13.", 0.0),
    ("12", r"\boxed{12", 1.0),
    ("12", r"The answer is \boxed{\text{12}}", 1.0),
    (r"\frac{a}{b}", r"\boxed{\frac{a}{b}}", 1.0),
    ("12", "", 0.0),
    ("12", "no idea", 0.0),
    ("12", r"\boxed{}", 0.0),
    ("12", "\ud800\x00", 0.0),
]


@pytest.mark.parametrize(("answer", "completion", "reward"), UNMARKED)
def test_where_the_answer_is(answer: str, completion: str, reward: float) -> None:
    assert grade("", answer, completion).reward == reward


def test_off_the_main_thread_too() -> None:
    """Graders that used alarm signals scored every answer 0 there."""
    grades: list[Grade] = []
    thread = threading.Thread(target=lambda: grades.append(grade("", "1/2", r"\boxed{0.5}")))
    thread.start()
    thread.join()
    assert grades[0].reward == 1.0


@pytest.mark.parametrize(
    "piece", ["\\boxed{", "\\(", "<answer>", "$", "1/", "answer is ", "```python\n", "{", "</think>"]
)
@pytest.mark.timeout(120)  # a quadratic search would take hours
def test_long_nonsense_is_graded_at_all(piece: str) -> None:
    for name in (
        "math",
        "exact",
        "logic",
        "format_boxed",
        "format_think",
        "format_answer_tags",
        "format_code_block",
    ):
        assert resolve(name)("", "12", piece * 8000).reward == 0.0


def test_there_are_enough_pairs() -> None:
    assert len(RIGHT) >= 100
    assert len(WRONG) >= 100
