"""Graders of form alone, and beside a grader of the answer in a composite."""

from collections import Counter

import pytest

from bots.graders import resolve
from tests.bots.graders.exact_pairs import RIGHT, WRONG
from tests.bots.graders.form_pairs import HAS, LACKS


@pytest.mark.parametrize(("grader", "completion"), HAS)
def test_has_the_form(grader, completion):
    assert resolve(grader)("", "", completion).reward == 1.0


@pytest.mark.parametrize(("grader", "completion"), LACKS)
def test_lacks_the_form(grader, completion):
    assert resolve(grader)("", "", completion).reward == 0.0


def test_there_are_enough_pairs_in_all():
    assert len(HAS) >= 200
    assert min(Counter(grader for grader, _ in HAS + LACKS).values()) >= 100


@pytest.mark.parametrize(
    ("answer", "completion", "correct"), [(*pair, 1) for pair in RIGHT] + [(*pair, 0) for pair in WRONG]
)
def test_a_composite_pays_for_the_answer_and_a_little_for_the_form(answer, completion, correct):
    verdict = resolve("0.9*exact + 0.1*format_boxed")("", answer, completion)
    assert verdict.reward == pytest.approx(0.9 * correct + 0.1 * (r"\boxed{" in completion))
    assert f"exact {correct}" in verdict.reason
