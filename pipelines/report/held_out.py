"""Held-out answers: what the model that training began with said, beside what the trained one says."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.report.run import Run, reading
from pipelines.report.texts import commonest, read_texts, visible

SHOWN = 6
"""Tasks of each kind."""
NONE_KEPT = (
    "The run did not keep the answers of two evaluations. With run.keep_rollouts=true and a pool to evaluate "
    "on a run keeps them."
)


def held_out(run: Run) -> dict[str, Any] | str:
    """Tasks whose mean reward rose and fell most between the first and the last evaluation, and how many did.

    The same seeds sample both, so a policy that has not changed gives the same answers.
    """
    files = sorted((run.folder / "evaluation").glob("*.parquet"))
    # A run that was cut off and resumed earlier can have files of steps that it has not come to again.
    files = [file for file in files if file.stem.isdigit() and int(file.stem) <= run.last_step]
    pool = run.config.get("evaluation", {}).get("pool")
    if len(files) < 2 or not pool:
        return NONE_KEPT
    first, last = (_read(file) for file in (files[0], files[-1]))
    before, after = _means(first), _means(last)
    change = {task: after[task] - before[task] for task in before.keys() & after.keys()}
    # Of equal changes any will do, but not always those of the first domain.
    by_change = sorted(change, key=lambda task: (change[task], crc32(task.encode())))
    kinds = {
        "gained": [task for task in reversed(by_change) if change[task] > 0],
        "lost": [task for task in by_change if change[task] < 0],
    }
    shown = [task for tasks in kinds.values() for task in tasks[:SHOWN]]
    texts, missing = read_texts(pool, shown)
    cards = []
    for task in shown:
        text = texts.get(task)
        cards.append(
            {
                "id": visible(task),
                "prompt": text and text.prompt,
                "truth": text and text.truth,
                "before": commonest(first.filter(pc.equal(first["task"], task)), int(files[0].stem)),
                "after": commonest(last.filter(pc.equal(last["task"], task)), int(files[-1].stem)),
            }
        )
    places = iter(range(len(cards)))
    return {
        "tasks": cards,
        "kinds": {kind: [next(places) for _ in tasks[:SHOWN]] for kind, tasks in kinds.items()},
        "counts": {kind: len(tasks) for kind, tasks in kinds.items()} | {"all": len(change)},
        "missing": missing if shown else None,
    }


def _read(file: Path) -> pa.Table:
    with reading(file):
        return pq.read_table(file)


def _means(answers: pa.Table) -> dict[str, float]:
    """Mean reward of each task all of whose answers were graded."""
    grouped = answers.group_by("task").aggregate(
        [("reward", "mean", pc.ScalarAggregateOptions(skip_nulls=False))]
    )
    pairs = zip(grouped["task"].to_pylist(), grouped["reward_mean"].to_pylist(), strict=True)
    return {task: mean for task, mean in pairs if mean is not None}
