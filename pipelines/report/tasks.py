"""The tasks: a table of all that were selected, and a few of them with the model's answers before and after."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from bots.pool import TaskPool
from bots.sources.config import PoolConfig
from bots.sources.open import plan_parts
from pipelines.report.answers import Groups
from pipelines.report.run import Run

SHOWN = 4
"""Tasks of each kind that are shown with answers."""
ANSWERS = 3
LONGEST = 2000
"""Characters of a prompt or an answer that are shown."""
UNSEEN = ("Cc", "Cf", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of characters that are shown by their code points: control, format, line separators …"""


class Tried:
    """Per task, what its selections showed. All columns have a row for each task that was selected.

    row: row of the pool. first, last: place of its first and last group in `groups`.
    learnt: z statistic of the pass rates of its later half of groups against its earlier half; NaN for one group.
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
    # With one answer's worth of prior variance: a group of equal rewards has none of its own.
    variance = max(pooled * (1 - pooled), 1e-3) * (1 / len(early) + 1 / len(late))
    return float((late.mean() - early.mean()) / np.sqrt(variance))


def table(
    pool: TaskPool, groups: Groups, tried: Tried, mean: npt.NDArray[np.float64], limit: int
) -> dict[str, Any]:
    """Columns of the task table, the most often selected first, at most `limit` rows.

    mean: float64 (K,), final posterior means. left_out: how many selected tasks are not in it.
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
    """Places in `tried` of the tasks to show: learnt most, easiest and hardest by the final belief."""
    by_belief = np.lexsort((-tried.times, mean[tried.row]))
    gained = np.flatnonzero(tried.learnt > 0)
    most = gained[np.argsort(-tried.learnt[gained], kind="stable")][:SHOWN]
    easy = np.lexsort((-tried.times, -mean[tried.row]))[:SHOWN]
    return {"learnt": most, "easiest": easy, "hardest": by_belief[:SHOWN]}


def cards(
    run: Run, pool: TaskPool, kept: ds.Dataset, groups: Groups, tried: Tried, chosen: npt.NDArray[np.intp]
) -> tuple[list[dict[str, Any]], str | None]:
    """The chosen tasks with their prompts and their answers at the first and the last selection.

    The second value says why prompts are missing, where they are.
    """
    ids = pool.ids(tried.row[chosen])
    prompts, missing = _prompts(run, ids)
    answers = kept.to_table(
        columns=["step", "task", "answer", "reward", "reason", "tokens"],
        filter=pc.field("task").isin(ids),
    )
    rate, out = groups.rate, []
    for place, task in zip(chosen, ids, strict=True):
        places = tried.places[place]
        of_task = answers.filter(pc.equal(answers["task"], task))
        first, last = int(groups.step[tried.first[place]]), int(groups.step[tried.last[place]])
        prompt, truth = prompts.get(task, (None, None))
        out.append(
            {
                "id": visible(task),
                "row": int(tried.row[place]),
                "domain": pool.domains[pool.domain_codes[tried.row[place]]],
                "prompt": prompt,
                "truth": truth,
                "steps": groups.step[places].tolist(),
                "rates": _rounded(rate[places]),
                "before": _answers(of_task, first),
                "after": _answers(of_task, last) if last > first else None,
            }
        )
    return out, missing


def _answers(of_task: pa.Table, step: int) -> dict[str, Any]:
    """The commonest answers of a step, each with how often it came."""
    rows = of_task.filter(pc.equal(of_task["step"], step)).to_pylist()
    counts = Counter((r["answer"], r["reward"], r["reason"]) for r in rows)
    return {
        "step": step,
        "answers": len(rows),
        "tokens": float(np.mean([r["tokens"] for r in rows])),
        "shown": [
            {"text": visible(text), "reward": reward, "reason": visible(reason), "count": count}
            for (text, reward, reason), count in counts.most_common(ANSWERS)
        ],
    }


def _prompts(run: Run, ids: list[str]) -> tuple[dict[str, tuple[str, str]], str | None]:
    """Prompt and right answer of the tasks, read again from the pool that the configuration names."""
    wanted, found = pa.array(ids), {}
    try:
        for part in plan_parts(PoolConfig.model_validate(run.config["pool"]))[1]:
            for piece in part.read():
                hits = piece.filter(pc.is_in(piece["id"], value_set=wanted))
                for row in hits.select(["id", "prompt", "answer"]).to_pylist():
                    found.setdefault(row["id"], (visible(_text(row["prompt"])), visible(str(row["answer"]))))
            if len(found) == len(ids):
                return found, None
    except (ValueError, LookupError, OSError, ImportError) as error:
        return found, f"The prompts are not shown, as the pool cannot be read again: {visible(str(error))}"
    lost = len(ids) - len(found)
    return (
        found,
        f"{lost} of the tasks are no longer in the pool that config.yaml names, so their prompts are not shown.",
    )


def _text(prompt: Any) -> str:
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def visible(text: str) -> str:
    """The text with control and direction characters shown by their code points, cut to LONGEST characters."""
    shown = "".join(
        f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in UNSEEN and c not in "\n\t" else c
        for c in text[:LONGEST]
    )
    return shown if len(text) <= LONGEST else f"{shown} … ({len(text) - LONGEST:,} more characters)"


def _rounded(values: Any) -> list[float | int | None]:
    return [
        None if v is None or v != v else int(v) if float(v).is_integer() else round(float(v), 3)
        for v in values
    ]
