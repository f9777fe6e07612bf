import pytest

from bots.graders import resolve
from tests.bots.graders.logic_pairs import CASES

grade = resolve("logic")


@pytest.mark.parametrize(("answer", "completion", "reward"), CASES, ids=range(len(CASES)))
def test_known_answer(answer: str, completion: str, reward: float) -> None:
    assert grade("", answer, completion).reward == pytest.approx(reward)


@pytest.mark.parametrize("answer", ['["a", "b"]', "fdebme", "[[1]]", '{"header": ["x"], "rows": [["1"]]}'])
def test_an_answer_that_is_not_marked_earns_nothing(answer: str) -> None:
    assert grade("", answer, f"It is {answer}").reward == 0.0


def test_a_box_will_do() -> None:
    assert grade("", "fdebme", r"\boxed{fdebme}").reward == 1.0


def test_a_garbled_zebra_answer_is_the_datas_fault() -> None:
    with pytest.raises(ValueError, match="rows"):
        grade("", '{"header": ["x"]}', "<answer>1</answer>")


def test_there_are_enough_pairs() -> None:
    right = sum(reward == 1 for *_, reward in CASES)
    assert right >= 90
    assert len(CASES) - right >= 100
