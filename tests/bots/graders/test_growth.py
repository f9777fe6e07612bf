"""No completion makes a grader search in vain for long: four times the text may not take much over four times as long.

What is compared is processor time of this thread, which a loaded machine changes little; what looks slow is measured
three times.
"""

import gc
import json
import time
from collections.abc import Iterator

import pytest

from bots.graders import resolve

SHORT, LONG = 5_000, 20_000  # characters
MOST = 9.0  # times as long, where linear is 4 and quadratic 16
AT_ONCE = 0.02  # seconds that are too few to measure
PIECES = [
    "answer is",
    "answer is\n",
    "answer",
    "final ",
    "final\n",
    "answer: ",
    "answer**",
    "answer is :",
    "#### ",
    "####\n",
    "\n",
    " ",
    ". ",
    ".\n ",
    "[",
    "[ ",
    "[[",
    "]",
    "] ]",
    "{",
    "}",
    "{}",
    '{"output": ',
    '"output":',
    '"output": [',
    "(",
    "\\boxed{",
    "\\boxed ",
    "\\boxed\n",
    "\\boxed{}",
    "<answer>",
    "</answer>",
    "<answer></answer>",
    "</think>",
    "<think>",
    "```",
    "```\n",
    "```json\n",
    "```python\nassert f(",
    "```python\n",
    "$",
    "$ $",
    "\\(",
    "\\[",
    "\\text{",
    "}\\text{",
    "**",
    '"',
    "'\"",
    ".",
    ",",
    ";",
    "->",
    "> ",
    "a,",
    "1/",
    "1 ",
    "1,",
    "9",
    "|",
    "1|",
    "%",
    "-",
    "A) ",
    "(A): x\n",
    "½",
    "²",
    "\\frac{",
]
_TASKS = {
    "math": "12",
    "exact": "twelve",
    "logic": '["a", "b"]',
    "table": "12|a",
    "stem": "B",
    "codeio": '"output": {"a": 1}',
    "judge": "a catalyst",
    "cruxeval": json.dumps({"functional": "def f(x): return x"}),
    "code": json.dumps({"functional": "assert f(1) == 2"}),
    "format_boxed": "",
    "format_think": "",
    "format_answer_tags": "",
    "format_code_block": "",
    "lab_math": "12",
    "lab_logic": "12",
}
_OTHER_ANSWERS = [("logic", '{"header": ["a"], "rows": [["b"]]}'), ("logic", "[[1, 2]]"), ("logic", "word")]
TASKS = [*_TASKS.items(), *_OTHER_ANSWERS]
AROUND = [("", ""), ("<answer>", "</answer>"), ("The answer is ", "")]


def _seconds(name: str, answer: str, completion: str) -> float:
    """Of this thread's CPU time. The least of some measurements, so that a pause of the machine counts for none."""
    grade = resolve(name)
    best = 9e9
    for _ in range(2):
        started = time.thread_time()
        try:
            reward = grade("assert f(??) == 5", answer, completion).reward
        except RuntimeError:  # there is no judge to ask
            assert name == "judge"
            reward = 0.0
        best = min(best, time.thread_time() - started)
        assert reward == 0.0 or name.startswith("format_")
        if best < AT_ONCE:
            break
    return best


@pytest.fixture
def no_collections() -> Iterator[None]:
    """A collection of garbage looks at all that the test process has imported: more than a completion takes."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(("name", "answer"), TASKS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(TASKS)])
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("no_collections")
def test_time_grows_as_the_text_does(name: str, answer: str) -> None:
    resolve(name)("assert f(??) == 5", answer, "warm")
    slow = []
    for piece in PIECES:
        for before, after in AROUND:
            pair = [before + piece * (length // len(piece)) + after for length in (SHORT, LONG)]
            # Other work on the core may make a linear one look slower than that; not three times in a row.
            for _ in range(3):
                long = _seconds(name, answer, pair[1])
                if long < AT_ONCE:
                    break
                short = _seconds(name, answer, pair[0])
                if long <= MOST * short:
                    break
            else:
                slow.append((before, piece, short, long))
    assert slow == []
