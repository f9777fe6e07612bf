import pytest

from bots.graders import resolve
from tests.bots.graders.exact_pairs import RIGHT, WRONG

grade = resolve("exact")


@pytest.mark.parametrize(("answer", "completion"), RIGHT)
def test_right(answer: str, completion: str) -> None:
    assert grade("", answer, completion).reward == 1.0


@pytest.mark.parametrize(("answer", "completion"), WRONG)
def test_wrong(answer: str, completion: str) -> None:
    assert grade("", answer, completion).reward == 0.0


def test_the_last_line_counts_only_if_nothing_is_marked() -> None:
    assert grade("", "b", "a\nb").reward == 1.0
    assert grade("", "b", "<answer>a</answer>\nb").reward == 0.0
    assert grade("", "b", "<answer>a</answer> hm <answer>b</answer>").reward == 1.0
    assert grade("", "b", "b <think> or a</think>").reward == 0.0
    assert grade("", "b", "").reward == 0.0


def test_there_are_enough_pairs() -> None:
    assert len(RIGHT) >= 100
    assert len(WRONG) >= 100
