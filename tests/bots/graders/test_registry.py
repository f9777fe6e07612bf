import json
import subprocess
import sys

import pytest

from bots.graders import UnknownGraderError, names, resolve
from bots.graders.base import Grade
from bots.graders.composite import Composite, parse
from bots.graders.registry import custom_parts


def test_every_built_in_name_resolves_once() -> None:
    for name in names():
        assert callable(resolve(name))
        assert resolve(name) is resolve(name)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("magic", "unknown grader 'magic'.*code, codeio, cruxeval, exact"),
        ("", "unknown grader"),
        ("no.such.module:f", "no module 'no'"),
        ("bots.graders.nowhere:f", "no module 'bots.graders.nowhere'"),
        ("bots.graders.exact:nothing", "no function 'nothing'.*grade"),
        ("bots.graders.exact:", "unknown grader"),
        (":grade", "unknown grader"),
    ],
)
def test_unknown_names_are_refused_with_what_is_known(name: str, complaint: str) -> None:
    with pytest.raises(UnknownGraderError, match=complaint):
        resolve(name)


def test_an_import_error_inside_a_users_module_is_not_hidden(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_grader.py").write_text("import a_module_they_forgot\ndef grade(p, a, c): return 1\n")  # type: ignore[operator]
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="a_module_they_forgot"):
        resolve("their_grader:grade")


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = ("sympy", "reasoning_gym", "torch", "ray")
    code = f"import sys, bots.graders; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_composite_is_the_weighted_mean() -> None:
    grade = resolve("0.7*exact + 0.2*format_boxed+.1*format_think")
    assert grade("", "a", r"<think>hm</think> \boxed{a}").reward == pytest.approx(1.0)
    assert grade("", "a", r"\boxed{a}").reward == pytest.approx(0.9)
    assert grade("", "a", r"\boxed{b}").reward == pytest.approx(0.2)
    assert grade("", "a", "a").reward == pytest.approx(0.7)
    assert grade("", "a", "").reward == 0.0
    verdict = grade("", "a", r"\boxed{b}")
    assert "exact 0" in verdict.reason
    assert "format_boxed 1" in verdict.reason


def test_composite_fails_if_a_part_fails() -> None:
    with pytest.raises(ValueError, match="JSON"):
        resolve("0.5*exact + 0.5*code")("", "not tests", "```python\nx\n```")


@pytest.mark.parametrize("reward", [float("nan"), 5, -1])
def test_composite_hides_no_impossible_reward(reward: float) -> None:
    parts = (0.5, "mine", lambda *_: Grade(reward, "")), (0.5, "exact", resolve("exact"))
    with pytest.raises(ValueError, match=r"mine gave the reward .*, not one in \[0, 1\]"):
        Composite(parts)("", "a", "a")


def test_composite_takes_bare_rewards() -> None:
    assert (
        Composite(((0.5, "mine", lambda *_: 1), (0.5, "exact", resolve("exact"))))("", "a", "b").reward == 0.5
    )


@pytest.mark.parametrize(
    "name",
    [
        "0.5*exact",
        "0.5*exact+0.6*math",
        "1*",
        "*exact",
        "0.5*exact+0.5*exact",
        "1.5*exact+-0.5*math",
        "0*a+1*b",
    ],
)
def test_garbled_composites_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="composite"):
        resolve(name)


def test_other_names_are_no_composites() -> None:
    assert parse("math") is None
    assert parse("module:function") is None


FORMS = [
    ("format_boxed", r"so \boxed{1}", r"so \boxed{", r"<think>\boxed{1}</think>", r"\boxed{}", "boxed{1}"),
    ("format_answer_tags", "<answer>1</answer>", "<answer>1", "<answer></answer>", "1</answer>",
     "<think><answer>1</answer></think>"),
    ("format_think", "<think>hm</think> 1", "hm", "<think>hm", "<think></think> 1", "<think>hm</think>",
     "<think>a</think><think>b</think> 1"),
    ("format_code_block", "```python\nx\n```", "```python\nx", "x", "```text\nx\n```",
     "<think>```python\nx\n```</think>"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "good", "bad"), [(n, g, b) for n, g, *bads in FORMS for b in bads])
def test_forms(name: str, good: str, bad: str) -> None:
    assert resolve(name)("", "", good).reward == 1.0
    assert resolve(name)("", "", bad).reward == 0.0


def test_reasoning_gym_own_score_grades() -> None:
    import reasoning_gym

    grade = resolve("reasoning_gym")
    right = wrong = 0
    for name in ("leg_counting", "basic_arithmetic", "countdown", "word_sorting", "spell_backward", "chain_sum",
                 "gcd", "prime_factorization", "knights_knaves", "calendar_arithmetic"):  # fmt: skip
        for entry in reasoning_gym.create_dataset(name, size=10, seed=5):
            answer = json.dumps(entry)
            for form in ("%s", "<think>hm</think>\n<answer>%s</answer>"):
                right += grade(entry["question"], answer, form % entry["answer"]).reward == 1.0
                wrong += grade(entry["question"], answer, form % "certainly not").reward < 0.9
    assert right == 200
    assert wrong == 200
    with pytest.raises(ValueError, match="metadata"):
        grade("", "{}", "1")
    with pytest.raises(ValueError, match="not registered"):
        grade("", '{"metadata": {"source_dataset": "magic"}}', "1")


RIGHT_AND_WRONG = [
    ("puzzle24", lambda entry: entry["answer"], lambda entry: "6*4*1*1"),
    ("game_of_life_halting", lambda entry: f"{entry['answer']}.", lambda entry: "unknown"),
    ("coin_flip", lambda entry: entry["answer"], lambda entry: "0"),
    ("complex_arithmetic", lambda entry: entry["answer"], lambda entry: "nan"),
]


@pytest.mark.parametrize(
    ("name", "right", "wrong"), RIGHT_AND_WRONG, ids=[name for name, *_ in RIGHT_AND_WRONG]
)
def test_a_generator_s_own_score_that_takes_anything_is_not_the_last_word(name, right, wrong) -> None:
    import reasoning_gym

    grade = resolve("reasoning_gym")
    for entry in reasoning_gym.create_dataset(name, size=4, seed=3):
        answer = json.dumps(entry)
        assert grade("", answer, f"<answer>{right(entry)}</answer>").reward == pytest.approx(1.0)
        assert grade("", answer, f"<answer>{wrong(entry)}</answer>").reward == 0.0


def test_custom_parts_are_found_through_sums_and_accepted_answers() -> None:
    assert custom_parts("math") == []
    assert custom_parts("mine:grade") == ["mine:grade"]
    assert custom_parts("any_of:any_of:mine:grade") == ["mine:grade"]
    assert custom_parts("0.5*a:f + 0.5*exact") == ["a:f"]
