"""Published data sets that need no settings: each is known by its columns, and turned into prompts and answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

TURNED = ("prompt", "answer", "solution")
"""What `Recipe.turn` makes. `solution`: a program that is right, to check the tests with; null where unknown."""
Turn = Callable[[dict[str, list[object]]], dict[str, list[str | None]]]


@dataclass(frozen=True)
class Recipe:
    """How one form of data set is read.

    needs: columns by which it is known; each a choice of names. reads: further columns, where they are there.
    domain, grader: of all its tasks, unless the source's settings say otherwise.
    columns: normal name → choice of the data set's own names, for columns that are taken as they are.
    turn: makes the normal columns TURNED from the needed and read ones, lists of one value a row;
        None as a value: the row lacks something.
    marked: every answer must have a line that begins with `####`, else it is another data set of the same columns.
    """

    name: str
    needs: tuple[tuple[str, ...], ...]
    domain: str
    grader: str
    columns: dict[str, tuple[str, ...]]
    reads: tuple[str, ...] = ()
    turn: Turn | None = None
    marked: bool = False

    def fits(self, names: set[str]) -> bool:
        """Whether a source with these columns may be of this form."""
        return all(names & set(choice) for choice in self.needs)

    def inputs(self, names: list[str]) -> list[str]:
        """The columns that `turn` gets."""
        if self.turn is None:
            return []
        wanted = {name for choice in self.needs for name in choice} | set(self.reads)
        return [name for name in names if name in wanted]


def recipe_of(schema: pa.Schema) -> Recipe | None:
    """The first form that fits a source's columns."""
    names = set(schema.names)
    return next((recipe for recipe in RECIPES if recipe.fits(names)), None)


def _human_eval(rows: dict[str, list[object]]) -> dict[str, list[str | None]]:
    out: dict[str, list[str | None]] = {"prompt": [], "answer": [], "solution": []}
    solutions = rows.get("canonical_solution") or [None] * len(rows["prompt"])
    for prompt, test, name, solution in zip(
        rows["prompt"], rows["test"], rows["entry_point"], solutions, strict=True
    ):
        if not (prompt and test and name):
            out["prompt"].append(None if not prompt else str(prompt))
            out["answer"].append(None)
            out["solution"].append(None)
            continue
        out["prompt"].append(
            "Complete this Python function. Give the whole program, with its imports, in one block that begins with "
            f"```python.\n\n```python\n{str(prompt).rstrip()}\n```"
        )
        tests = {
            "functional": f"{test}\n\ncheck({name})",
            "prefix": _before(str(prompt), str(name)),
            "entry_point": str(name),
        }
        out["answer"].append(json.dumps(tests, ensure_ascii=False))
        out["solution"].append(None if solution is None else f"{prompt}{solution}")
    return out


def _before(prompt: str, name: str) -> str:
    """What stands before the asked function: imports and helpers that a solution may lean on without repeating them."""
    at = prompt.rfind(f"def {name}(")
    return prompt[:at].rstrip() if at > 0 else ""


def _mbpp(rows: dict[str, list[object]]) -> dict[str, list[str | None]]:
    out: dict[str, list[str | None]] = {"prompt": [], "answer": [], "solution": []}
    asked = rows.get("text") or rows["prompt"]
    count = len(asked)
    setups, imports = rows.get("test_setup_code", [None] * count), rows.get("test_imports", [None] * count)
    codes = rows.get("code", [None] * count)
    for text, tests, setup, imported, code in zip(
        asked, rows["test_list"], setups, imports, codes, strict=True
    ):
        lines = [str(test) for test in tests] if isinstance(tests, list) else []
        if not (text and lines):
            out["prompt"].append(str(text) if text else None)
            out["answer"].append(None)
            out["solution"].append(None)
            continue
        before = [*(map(str, imported) if isinstance(imported, list) else ()), str(setup or "")]
        shown = "\n".join(lines)
        out["prompt"].append(
            f"{str(text).strip()}\n\nGive a Python program in one block that begins with ```python. It must pass these "
            f"tests:\n\n```python\n{shown}\n```"
        )
        source = "\n".join(line for line in (*before, *lines) if line)
        out["answer"].append(json.dumps({"functional": source}, ensure_ascii=False))
        out["solution"].append(None if code is None else str(code))
    return out


RECIPES = (
    Recipe(
        "HumanEval",
        needs=(("prompt",), ("test",), ("entry_point",)),
        reads=("canonical_solution",),
        domain="code",
        grader="code",
        columns={"id": ("task_id",)},
        turn=_human_eval,
    ),
    Recipe(
        "MBPP",
        needs=(("text", "prompt"), ("test_list",)),
        reads=("test_setup_code", "test_imports", "code"),
        domain="code",
        grader="code",
        columns={},
        turn=_mbpp,
    ),
    Recipe(
        "GSM8K",
        needs=(("question",), ("answer",)),
        domain="math",
        grader="math",
        columns={"prompt": ("question",), "answer": ("answer",)},
        marked=True,
    ),
    # MATH has worked solutions alone, MATH-500 and DeepScaleR answers beside them.
    Recipe(
        "MATH",
        needs=(("problem",), ("solution", "answer")),
        domain="math",
        grader="math",
        columns={
            "prompt": ("problem",),
            "answer": ("answer", "solution"),
            "id": ("id", "unique_id"),
            "level": ("level",),
        },
    ),
    Recipe(
        "DAPO-Math, processed",
        needs=(("prompt",), ("solution",), ("source_prompt",)),
        domain="math",
        grader="math",
        columns={"answer": ("solution",)},
    ),
)
"""The forms, the more particular ones first. GURU and its kin (verl's columns, DAPO's) are `bots.sources.guru`'s."""
