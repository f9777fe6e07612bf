"""A run's `summary.json`, computed from the journal's records, and its final beliefs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc

from bots.support.event_log import EventLog
from bots.support.files import replace_text
from pipelines.shared.job_folder import METRICS


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's `metrics.jsonl`, one per step; step 0 has the initial score.

    Damaged lines are skipped, and so is an incomplete last line: it is being written, or its writer was killed.
    """
    path = folder / METRICS
    if not path.exists():
        raise FileNotFoundError(f"{folder} has no metrics.jsonl: it is not the folder of a run")
    events, _ = EventLog(path).salvage()
    return [record for record in events if isinstance(record.get("step"), int)]


def summarise(
    folder: Path,
    beliefs: pa.Table | None,
    seconds: float,
    status: str = "finished",
    reason: str | None = None,
) -> dict[str, Any]:
    """Write `summary.json` and the final beliefs, `posterior/beliefs.arrow`; return the summary.

    Fields without a value in any step are null. beliefs: None if they are lost, as for a trial stopped by its sweep.
    status: finished, stopped (on purpose, before the last step) or failed. reason: why it failed.
    """
    records = read_metrics(folder) if (folder / METRICS).exists() else []
    steps = [record for record in records if record["step"] > 0]
    scores = [(record["step"], record["score"]) for record in records if "score" in record]
    best = max(scores, key=lambda pair: pair[1], default=(None, None))
    summary = {
        "status": status,
        "reason": reason,
        "steps": len(steps),
        "first_score": scores[0][1] if scores else None,
        "last_score": scores[-1][1] if scores else None,
        "best_score": best[1],
        "best_step": best[0],
        "mean_etr": _mean(steps, "etr"),
        "tokens": sum(record["tokens"] for record in steps),
        "step_seconds": _mean(steps, "seconds"),
        "selection_share": _share(steps, "select_wait_seconds"),
        "phases": {
            name.removeprefix("seconds/"): _share(steps, name)
            for name in sorted({key for record in steps for key in record if key.startswith("seconds/")})
        },
        "dropped_groups": sum(record["dropped_groups"] for record in steps),
        "wall_seconds": seconds,
    }
    replace_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    if beliefs is None:
        return summary
    (folder / "posterior").mkdir(exist_ok=True)
    path = str(folder / "posterior" / "beliefs.arrow")
    with pa.OSFile(path, "wb") as sink, ipc.new_file(sink, beliefs.schema) as writer:
        writer.write_table(beliefs)
    return summary


def training_seconds(record: dict[str, Any]) -> float:
    """A step's seconds without evaluation and checkpoint, which are not part of a method's cost."""
    overhead = record.get("seconds/evaluate", 0.0) + record.get("seconds/checkpoint", 0.0)
    return float(record.get("seconds", 0.0) - overhead)


def _mean(records: list[dict[str, Any]], key: str) -> float | None:
    values = [record[key] for record in records if key in record]
    return sum(values) / len(values) if values else None


def _share(records: list[dict[str, Any]], key: str) -> float | None:
    """The key's share of the steps' seconds."""
    total = sum(record["seconds"] for record in records)
    return sum(record.get(key, 0.0) for record in records) / total if total else None
