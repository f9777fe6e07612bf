"""Nothing that a model or a data file writes is run outside the sandbox, whatever library grades it."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest

from bots.graders.registry import resolve
from bots.graders.safe_evaluation import formula, value

EVALUATORS = ("parse_expr", "exec", "sympify", "parse_latex", "lambdify", "S")
HOSTILE = [
    "__import__('os').system('touch {mark}')",
    "[open('{mark}', 'w')]",
    "[entry['answer']]",
    "(lambda: 1)()",
    "().__class__.__mro__[1].__subclasses__()",
    "[x for x in (1, 2)]",
    "f'{{open(chr(47))}}'",
    "exit()",
    "breakpoint()",
    "sympify('open(1)')",
    "preview(1)",
    "x.\nsubs(x, 1)",
    "x. subs(x, 1)",
    "globals()",
    "input()",
]
EVALUATING = [
    "string_insertion", "spiral_matrix", "number_sorting", "binary_matrix", "n_queens", "bitwise_arithmetic",
    "simple_integration", "intermediate_integration", "polynomial_multiplication", "puzzle24", "countdown",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_programs_are_refused(text: str) -> None:
    with pytest.raises((ValueError, SyntaxError)):
        value(text)
    with pytest.raises((ValueError, SyntaxError)):
        formula(text)


def test_literals_arithmetic_and_formulas_are_evaluated() -> None:
    assert value(" [['a', 1], (2, -3.5)] ") == [["a", 1], (2, -3.5)]
    assert value("((0x2 + 0x1) << 0x3) ^ ~1") == ((2 + 1) << 3) ^ ~1
    assert str(formula("2*x**2 + sin(x)/4 + C")) == "C + 2*x**2 + sin(x)/4"
    assert formula("(10 - 9 + 5)*4") == 24
    for bomb in ("9**9**9**9", "1 << 10**12", "1" * 20_000):
        with pytest.raises(ValueError, match=r"power or shift|characters"):
            value(bomb)


@pytest.mark.parametrize("name", EVALUATING)
def test_no_completion_and_no_entry_runs_code_in_reasoning_gym(name: str, tmp_path: Path) -> None:
    import reasoning_gym

    grade = resolve("reasoning_gym")
    entry = reasoning_gym.create_dataset(name, size=1, seed=3)[0]
    mark = tmp_path / "ran"
    for text in (hostile.format(mark=mark) for hostile in HOSTILE):
        assert grade("", json.dumps(entry), f"<answer>{text}</answer>").reward < 0.1
        # A data file's entry is no more to be trusted than a completion.
        texts = {key: text for key, held in entry["metadata"].items() if isinstance(held, str)}
        forged = {**entry, "answer": text, "metadata": {**entry["metadata"], **texts, "source_dataset": name}}
        try:
            grade("", json.dumps(forged), "<answer>[1]</answer>")
        except (ValueError, SyntaxError):
            continue
    assert not mark.exists()


def test_every_scorer_of_reasoning_gym_that_evaluates_is_guarded() -> None:
    """A later version must not bring back an `eval`, an `exec` or a parser of SymPy's by another name."""
    import reasoning_gym

    resolve("reasoning_gym")
    from bots.graders.reasoning_gym import _scorer

    _scorer("countdown")
    for name, module in list(sys.modules.items()):
        if not name.startswith("reasoning_gym.") or not getattr(module, "__file__", None):
            continue
        assert vars(module)["eval"] is value
        source = Path(module.__file__).read_text()
        if not re.search(rf"\b({'|'.join(EVALUATORS)})\(", source):
            continue
        for node in ast.walk(ast.parse(source)):
            called = node.func if isinstance(node, ast.Call) else None
            word = getattr(called, "id", getattr(called, "attr", ""))
            if word in EVALUATORS[1:]:
                assert (word, name) == ("exec", "reasoning_gym.code.codeio"), f"{word} in {name}"
            if word == "parse_expr" and isinstance(called, ast.Name):
                assert vars(module)["parse_expr"] is formula or name.endswith("propositional_logic")
    assert reasoning_gym.__version__
