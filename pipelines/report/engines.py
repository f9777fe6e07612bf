"""How the engines shared the work, side by side, and which one idled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipelines.report.run import Run, reading

IDLE = 0.5
"""An engine that generated less than this part of an even share of the tokens is named as idle."""


def engines(run: Run, kept: ds.Dataset | None) -> dict[str, Any] | None:
    """Completions and tokens of each engine, and sentences about the idle ones; None where neither is known.

    kept: the run's rollouts. An engine that the configuration asks for and that generated nothing has a row too.
    notes: an idle engine by name, and how busy the least and the most busy engine were, if the run recorded it.
    """
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    if kept is not None and "engine" in kept.schema.names:
        rows = _rows(run, kept)
        even = 1 / max(1, len(rows))
        notes += [
            f"{row['engine']} is idle: it generated {row['share']:.0%} of the tokens; an even share is {even:.0%}."
            for row in rows
            if row["share"] < IDLE * even
        ]
    least, most = (run.series(f"engine_busy_share_{end}")[1] for end in ("min", "max"))
    if len(least):
        notes.append(
            f"In a mean step the least busy engine was busy {float(np.mean(least)):.0%} of the time, the most busy "
            f"{float(np.mean(most)):.0%}."
        )
    return {"rows": rows, "notes": notes} if rows or notes else None


def _rows(run: Run, kept: ds.Dataset) -> list[dict[str, Any]]:
    with reading(run.folder / "rollouts"):
        table = kept.to_table(columns=["engine", "tokens"])
    found = table.group_by("engine").aggregate([("tokens", "sum"), ("tokens", "count")])
    by_engine = {row["engine"]: row for row in found.to_pylist() if row["engine"]}
    if not by_engine:
        return []
    asked = int(run.config.get("rollout", {}).get("engines", 1))
    total = max(1, int(pc.sum(table["tokens"]).as_py() or 0))
    names = dict.fromkeys([f"rollout-{number}" for number in range(asked)]) | dict.fromkeys(by_engine)
    none = {"tokens_sum": 0, "tokens_count": 0}
    return [
        {
            "engine": name,
            "completions": by_engine.get(name, none)["tokens_count"],
            "tokens": by_engine.get(name, none)["tokens_sum"],
            "share": by_engine.get(name, none)["tokens_sum"] / total,
        }
        for name in names
    ]
