"""Held-out completions: the initial model beside the trained one."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.report.run import Run, reading
from pipelines.report.texts import most_frequent, read_texts, visible

SHOWN = 6
"""Tasks shown of each kind."""
NONE_KEPT = (
    "The run kept no completions of two evaluations; run.keep_rollouts=true and evaluation.pool keep them."
)


def held_out(run: Run) -> dict[str, Any] | str:
    """The tasks whose mean reward rose and fell most from the first to the last evaluation, and how many did.

    Both are sampled with the same seeds, so an unchanged policy gives the same completions.
    """
    files = sorted((run.folder / "evaluation").glob("*.parquet"))
    # After a resume from an earlier step there can be files of steps that have not been repeated yet.
    files = [file for file in files if file.stem.isdigit() and int(file.stem) <= run.last_step]
    pool = run.config.get("evaluation", {}).get("pool")
    if len(files) < 2 or not pool:
        return NONE_KEPT
    first, last = (_read(file) for file in (files[0], files[-1]))
    before, after = _means(first), _means(last)
    change = {task: after[task] - before[task] for task in before.keys() & after.keys()}
    # Break ties by a hash, so that the first domain is not always preferred.
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
                "before": most_frequent(first.filter(pc.equal(first["task"], task)), int(files[0].stem)),
                "after": most_frequent(last.filter(pc.equal(last["task"], task)), int(files[-1].stem)),
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


def _means(completions: pa.Table) -> dict[str, float]:
    """Mean reward of each task with no ungraded completion."""
    grouped = completions.group_by("task").aggregate(
        [("reward", "mean", pc.ScalarAggregateOptions(skip_nulls=False))]
    )
    pairs = zip(grouped["task"].to_pylist(), grouped["reward_mean"].to_pylist(), strict=True)
    return {task: mean for task, mean in pairs if mean is not None}
