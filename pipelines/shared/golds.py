"""Every reference answer graded as if a model had given it, and against its neighbour's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bots.graders.golds import answer_fault, gold_completion
from bots.graders.registry import resolve
from bots.graders.worker import Item
from bots.graders.workers import Workers
from bots.pool import TaskPool
from bots.rollouts.templates import prompt_text
from bots.support.natural_order import natural

BATCH = 256
"""Tasks that are graded together, so that progress shows."""
SHOWN = 10
"""Failing rows that a report names for each domain."""
CHEAP = {"math", "exact", "logic", "codeio", "table", "stem", "lab_math", "lab_logic"}
"""Graders of one process, of no program and no server."""
SAMPLE = 8
"""Answers of each grader that a starting run looks at."""


@dataclass
class GoldCheck:
    """What became of the reference answers of one domain.

    checked: answers that were graded. untold: those that tell no completion (tests without a solution).
    neighbours: tasks that were tried with another task's answer.

    Pairs of id and reason. refused: answers that are not right by their own grader. ungraded: those that the grader
    failed on. accepted: tasks for which another one's answer is right, though not the reverse. alike: those for which
    it is right both ways: the two are one answer in two spellings, or the grader is wrong.
    """

    checked: int = 0
    untold: int = 0
    neighbours: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    accepted: list[tuple[str, str]] = field(default_factory=list)
    alike: list[tuple[str, str]] = field(default_factory=list)
    ungraded: list[tuple[str, str]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Tasks whose answer is refused or can't be graded: no model can solve them."""
        return len(self.refused) + len(self.ungraded)


@dataclass(frozen=True)
class _Gold:
    row: int
    id: str
    domain: str
    grader: str
    prompt: str
    answer: str
    completion: str | None


def check_golds(
    pool: TaskPool,
    workers: Workers,
    rows: Sequence[int] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, GoldCheck]:
    """Grade each answer as a completion, and the next task's answer of the same domain and grader in its place.

    The first must be right and the second wrong. rows: which; None: all. progress: is given the number of tasks done.
    Returns a GoldCheck for each domain.
    """
    found: dict[str, GoldCheck] = {name: GoldCheck() for name in sorted(pool.domains, key=natural)}
    before: dict[tuple[str, str], _Gold] = {}
    done = 0
    for batch in _batches(pool, rows):
        tasks: list[_Gold] = []
        for gold in batch:
            if gold.completion is None:
                check = found[gold.domain]
                if (fault := answer_fault(gold.grader, gold.answer)) is None:
                    check.untold += 1
                else:
                    check.checked += 1
                    check.ungraded.append((gold.id, fault))
            else:
                tasks.append(gold)
        own = workers.grade([_item(gold, gold) for gold in tasks])
        pairs: list[tuple[_Gold, _Gold]] = []
        for gold in tasks:
            other = before.get((gold.domain, gold.grader))
            if other is not None and other.answer != gold.answer:
                pairs.append((gold, other))
            before[gold.domain, gold.grader] = gold
        crossed = workers.grade(
            [item for one, other in pairs for item in (_item(one, other), _item(other, one))]
        )
        for gold, result in zip(tasks, own, strict=True):
            check = found[gold.domain]
            check.checked += 1
            if result.reward is None:
                check.ungraded.append((gold.id, result.reason))
            elif result.reward < 1.0:
                check.refused.append((gold.id, result.reason))
        for place, (gold, other) in enumerate(pairs):
            there, back = crossed[2 * place], crossed[2 * place + 1]
            check = found[gold.domain]
            check.neighbours += 1
            if there.reward == 1.0:
                told = f"takes {other.answer[:60]!r} of {other.id} for {gold.answer[:60]!r}"
                (check.alike if back.reward == 1.0 else check.accepted).append((gold.id, told))
        done += len(batch)
        progress(done)
    return found


def look_at_golds(pool: TaskPool) -> list[str]:
    """What a starting run says of a few answers of each cheap grader, graded in this process; nothing if all is well.

    The rows are spread over the pool. Takes milliseconds, and a second where `math` has to be loaded.
    """
    names = pool.table["grader"].combine_chunks().dictionary_encode()
    codes = names.indices.to_numpy()
    warnings = []
    for code, grader in enumerate(names.dictionary.to_pylist()):
        if grader.removeprefix("any_of:") not in CHEAP:
            continue
        rows = np.flatnonzero(codes == code)
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLE).astype(int))]
        wrong: list[tuple[str, str]] = []
        for batch in _batches(pool, chosen.tolist()):
            for gold in batch:
                reason = _wrong(gold)
                if reason is not None:
                    wrong.append((gold.id, reason))
        if wrong:
            task, reason = wrong[0]
            warnings.append(
                f"{len(wrong)} of {len(chosen)} reference answers tried are not right by their own grader {grader}: no "
                f"model can earn a reward there. Task {task}: {reason}. `bots pool` checks them all"
            )
    return warnings


def _wrong(gold: _Gold) -> str | None:
    if gold.completion is None:
        return None
    try:
        grade = resolve(gold.grader)(gold.prompt, gold.answer, gold.completion)
    except Exception as error:  # noqa: BLE001 (a grader that raises on its own answer leaves the task ungraded)
        return f"{type(error).__name__}: {error}"
    return None if grade.reward == 1.0 else grade.reason


def _item(task: _Gold, said: _Gold) -> Item:
    return task.grader, task.prompt, task.answer, said.completion or ""


def _batches(pool: TaskPool, rows: Sequence[int] | None) -> Iterator[list[_Gold]]:
    chosen = np.arange(len(pool)) if rows is None else np.asarray(rows, np.int64)
    columns = [
        "id",
        "grader",
        "prompt",
        "answer",
        *(["solution"] if "solution" in pool.table.column_names else []),
    ]
    for start in range(0, len(chosen), BATCH):
        taken = chosen[start : start + BATCH]
        batch = []
        for row, task in zip(taken.tolist(), pool.take(taken, columns), strict=True):
            domain = pool.domains[pool.domain_codes[row]]
            try:
                completion = gold_completion(
                    task["grader"], task["answer"], task.get("solution"), prompt_text(task["prompt"])
                )
            except ValueError:
                completion = task["answer"]  # the grader will say what is wrong with it
            batch.append(
                _Gold(
                    row,
                    task["id"],
                    domain,
                    task["grader"],
                    prompt_text(task["prompt"]),
                    task["answer"],
                    completion,
                )
            )
        yield batch
