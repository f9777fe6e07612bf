"""Hundreds of pairs that were written to fool the math grader, by kind; wrong ones must earn nothing, right ones 1."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from bots.graders import resolve

PAIRS: dict[str, list[tuple[str, str, float]]] = defaultdict(list)
for _line in Path(__file__).with_name("math_adversarial.jsonl").read_text().splitlines():
    _pair = json.loads(_line)
    PAIRS[_pair["kind"]].append((_pair["answer"], _pair["said"], _pair["reward"]))


@pytest.mark.parametrize("kind", PAIRS)
def test_kind(kind: str) -> None:
    grade = resolve("math")
    found = [
        (answer, said, grade("", answer, f"So $\\boxed{{{said}}}$.").reward)
        for answer, said, _ in PAIRS[kind]
    ]
    assert [one for one, pair in zip(found, PAIRS[kind], strict=True) if one != pair] == []


def test_there_are_enough() -> None:
    assert len(PAIRS) >= 24
    assert sum(map(len, PAIRS.values())) >= 600
