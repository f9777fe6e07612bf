"""Tasks: a table of all selected ones, and a few with the model's completions before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from bots.pool import TaskPool
from pipelines.report.recorded import Groups
from pipelines.report.run import Run, reading
from pipelines.report.texts import most_frequent, read_texts, visible

SHOWN = 4
"""Tasks of each kind that are shown with completions."""


class Tried:
    """The selected tasks. All columns have one row per task.

    row: row of the pool. first, last: index of its first and last group in `groups`. learnt: z statistic of the pass
    rates in the later half of its groups against the earlier half; NaN for a single group.
    """

    def __init__(self, groups: Groups) -> None:
        order = np.lexsort((groups.step, groups.row))
        self.row, starts, self.times = np.unique(groups.row[order], return_index=True, return_counts=True)
        self.first, self.last = order[starts], order[starts + self.times - 1]
        self.places = np.split(order, starts[1:])
        self.learnt = np.array([_learnt(groups, places) for places in self.places])


def _learnt(groups: Groups, places: npt.NDArray[np.intp]) -> float:
    if len(places) < 2:
        return float("nan")
    early, late = (
        np.concatenate([groups.rewards[place] for place in half])
        for half in (places[: len(places) // 2], places[-(len(places) // 2) :])
    )
    pooled = np.concatenate([early, late]).mean()
    # A floor on the variance: a group of equal rewards has none.
    variance = max(pooled * (1 - pooled), 1e-3) * (1 / len(early) + 1 / len(late))
    return float((late.mean() - early.mean()) / np.sqrt(variance))


def table(
    pool: TaskPool, groups: Groups, tried: Tried, mean: npt.NDArray[np.float64], limit: int
) -> dict[str, Any]:
    """Columns of the task table, most often selected tasks first, at most `limit` rows.

    mean: float64 (K,), final posterior means. left_out: number of selected tasks beyond `limit`.
    """
    order = np.lexsort((tried.row, -tried.times))[:limit]
    rows, rate = tried.row[order], groups.rate
    columns: dict[str, Any] = {
        "id": pool.ids(rows),
        "domain": [pool.domains[pool.domain_codes[row]] for row in rows],
    }
    for name in ("level", "weak", "strong"):
        if name in pool.table.column_names and pool.table[name].null_count < len(pool):
            columns[name] = _rounded(pool.table[name].take(pa.array(rows)).to_pylist())
    return {
        "columns": columns
        | {
            "selected": tried.times[order].tolist(),
            "last step": groups.step[tried.last[order]].tolist(),
            "first rate": _rounded(rate[tried.first[order]]),
            "last rate": _rounded(rate[tried.last[order]]),
            "change": _rounded(rate[tried.last[order]] - rate[tried.first[order]]),
            "belief": _rounded(mean[rows]),
        },
        "left_out": len(tried.row) - len(order),
        "never": len(pool) - len(tried.row),
    }


def choose(tried: Tried, mean: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.intp]]:
    """Indices in `tried` of the tasks to show: learned most, and easiest and hardest by the final belief."""
    by_belief = np.lexsort((-tried.times, mean[tried.row]))
    gained = np.flatnonzero(tried.learnt > 0)
    most = gained[np.argsort(-tried.learnt[gained], kind="stable")][:SHOWN]
    easy = np.lexsort((-tried.times, -mean[tried.row]))[:SHOWN]
    return {"learnt": most, "easiest": easy, "hardest": by_belief[:SHOWN]}


def cards(
    run: Run, pool: TaskPool, kept: ds.Dataset, groups: Groups, tried: Tried, chosen: npt.NDArray[np.intp]
) -> tuple[list[dict[str, Any]], str | None]:
    """The chosen tasks with their prompts and their completions at the first and last selection.

    The second value says why prompts are missing, if they are.
    """
    ids = pool.ids(tried.row[chosen])
    texts, missing = read_texts(run.config["pool"], ids)
    with reading(run.folder / "rollouts"):
        completions = kept.to_table(
            columns=["step", "task", "answer", "reward", "reason", "tokens"],
            filter=pc.field("task").isin(ids),
        )
    rate, out = groups.rate, []
    for place, task in zip(chosen, ids, strict=True):
        places = tried.places[place]
        of_task = completions.filter(pc.equal(completions["task"], task))
        first, last = int(groups.step[tried.first[place]]), int(groups.step[tried.last[place]])
        text = texts.get(task)
        out.append(
            {
                "id": visible(task),
                "row": int(tried.row[place]),
                "domain": pool.domains[pool.domain_codes[tried.row[place]]],
                "prompt": text and text.prompt,
                "truth": text and text.truth,
                "steps": groups.step[places].tolist(),
                "rates": _rounded(rate[places]),
                "before": most_frequent(of_task, first),
                "after": most_frequent(of_task, last) if last > first else None,
            }
        )
    return out, missing


def _rounded(values: Any) -> list[float | int | None]:
    return [
        None if v is None or v != v else int(v) if float(v).is_integer() else round(float(v), 3)
        for v in values
    ]
