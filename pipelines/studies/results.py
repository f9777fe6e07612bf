"""What a study has found so far: one row for each run and one for each of its steps, as Parquet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from bots.files import replacing
from bots.metrics import Curve
from pipelines.studies.config import Key, StudyConfig
from pipelines.summary import read_metrics, training_seconds

RUNS = pa.schema(
    [
        ("pool", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int32()),
        ("fingerprint", pa.string()),
        ("commit", pa.string()),
        ("machine", pa.string()),
        ("sitting", pa.string()),
        ("config", pa.string()),
        ("wall_seconds", pa.float64()),
    ]
)
STEPS = pa.schema(
    [
        ("pool", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int32()),
        ("step", pa.int32()),
        ("score", pa.float64()),
        ("domain_scores", pa.map_(pa.string(), pa.float64())),
        ("tokens", pa.float64()),
        ("seconds", pa.float64()),
        ("etr", pa.float64()),
        ("brier", pa.float64()),
        ("coverage", pa.float64()),
        ("select_wait_seconds", pa.float64()),
    ]
)


@dataclass(frozen=True)
class StudyRun:
    """A finished run's curves.

    against: scores over "steps", generated "tokens" and training "seconds"; no seconds of a run that was not timed.
    etr, brier: float64 (steps,), the latter NaN where nothing was predicted. coverage: share of the pool that had been
    observed at the end; NaN for a run that did not count it. last: the last score by domain; empty for a run that did
    not keep them. machine: the kind that it ran on. sitting: which one, and since which start of it.
    """

    against: dict[str, Curve]
    etr: np.ndarray
    brier: np.ndarray
    coverage: float
    last: dict[str, float]
    machine: str
    sitting: str

    def comparable(self, other: StudyRun, cost: str) -> bool:
        """Whether the two can be compared on a cost: both have it, and seconds are those of one machine in one sitting.

        Machines of one kind were seen to differ by half in speed, from day to day, and all seeds of an arm with them:
        more than there is to be found out, and no chance that a test over seeds could allow for.
        """
        here, there = (self.machine, self.sitting), (other.machine, other.sitting)
        return cost in self.against and cost in other.against and (cost != "seconds" or here == there)


class StudyResults:
    """The study's two tables, `runs.parquet` and `steps.parquet`, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = _read(folder / "runs.parquet", RUNS)
        self.steps = _read(folder / "steps.parquet", STEPS)
        self._curves: dict[Key, StudyRun | None] = {}

    def fingerprint(self, key: Key) -> str | None:
        """Of the configuration that a run had, None if there is no such run."""
        found = self.runs.filter(_is(key))
        return found["fingerprint"][0].as_py() if found.num_rows else None

    def has(self, study: StudyConfig, key: Key) -> bool:
        """Whether there is such a run with the study's present configuration."""
        return self.fingerprint(key) == study.fingerprint(key)

    def timed_on(self, key: Key, machine: str, sitting: str) -> bool:
        """Whether a run was timed on such a machine in this sitting."""
        here = (pc.field("machine") == machine) & (pc.field("sitting") == sitting)
        timed = pc.field("wall_seconds").is_valid()
        return bool(self.runs.filter(_is(key) & here & timed).num_rows)

    def leave_out_stale(self, study: StudyConfig) -> int:
        """Forget, here but not on disk, the study's runs of another configuration than its present one; how many."""
        stale = [
            key for key in study.plan() if self.fingerprint(key) is not None and not self.has(study, key)
        ]
        for key in stale:
            self.runs = self.runs.filter(pc.invert(_is(key)))
        self._curves.clear()
        return len(stale)

    @classmethod
    def add(cls, results: Path, key: Key, folder: Path, about: dict[str, Any], timed: bool = True) -> None:
        """Take a finished run's folder into the tables, in place of an earlier run of the same key; on disk on return.

        about: the columns of `RUNS` beside the key. timed: False leaves the seconds out. Processes that add at once
        wait for one another.
        """
        pool, arm, seed = key
        rows = []
        tokens = seconds = 0.0
        for record in read_metrics(folder):
            tokens += record.get("tokens", 0.0)
            seconds += training_seconds(record)
            given = {
                name: record.get(name) for name in ("step", "score", "etr", "coverage", "select_wait_seconds")
            }
            brier = record.get("posterior/batch/brier")
            spent = {"tokens": tokens, "seconds": seconds if timed else None}
            scores = {key.removeprefix("score/"): v for key, v in record.items() if key.startswith("score/")}
            given["domain_scores"] = list(scores.items()) or None
            rows.append({"pool": pool, "arm": arm, "seed": seed, **given, **spent, "brier": brier})
        results.mkdir(parents=True, exist_ok=True)
        with FileLock(results / "tables.lock"):
            tables = cls(results)
            # What is missing is decided by the table of runs, so a run is in it only while its own steps are there:
            # an earlier one goes first, the new one comes last. A kill in between costs a run, but mixes none.
            if tables.fingerprint(key) is not None:
                tables._write("runs", tables.runs.filter(pc.invert(_is(key))))
            tables._write("steps", cls._with(tables.steps, key, rows))
            tables._write(
                "runs", cls._with(tables.runs, key, [{"pool": pool, "arm": arm, "seed": seed, **about}])
            )

    def run(self, key: Key) -> StudyRun | None:
        """A run's curves, None if it has not been run: steps without a row in the table of runs are none."""
        if key not in self._curves:
            self._curves[key] = self._read_curves(key)
        return self._curves[key]

    def _read_curves(self, key: Key) -> StudyRun | None:
        about = self.runs.filter(_is(key))
        steps = self.steps.filter(_is(key)).sort_by("step")
        if not about.num_rows or not steps.num_rows:
            return None
        scored = steps.filter(pc.is_valid(steps["score"]))
        scores = scored["score"].to_numpy()
        against = {
            what: Curve(scored[column].to_numpy().astype(float), scores)
            for what, column in (("steps", "step"), ("tokens", "tokens"), ("seconds", "seconds"))
            if not scored[column].null_count
        }
        training = steps.filter(pc.greater(steps["step"], 0))
        coverage = steps["coverage"].drop_null()
        return StudyRun(
            against,
            training["etr"].to_numpy(),
            training["brier"].to_numpy(),
            coverage[-1].as_py() if len(coverage) else math.nan,
            dict(scored["domain_scores"][-1].as_py() or []),
            about["machine"][0].as_py(),
            about["sitting"][0].as_py(),
        )

    @staticmethod
    def _with(table: pa.Table, key: Key, rows: list[dict[str, Any]]) -> pa.Table:
        others = table.filter(pc.invert(_is(key)))
        return pa.concat_tables([others, pa.Table.from_pylist(rows, schema=table.schema)])

    def _write(self, name: str, table: pa.Table) -> None:
        with replacing(self.folder / f"{name}.parquet") as partial:
            pq.write_table(table, partial)


def _is(key: Key) -> pc.Expression:
    pool, arm, seed = key
    return (pc.field("pool") == pool) & (pc.field("arm") == arm) & (pc.field("seed") == seed)


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    return pq.read_table(path, schema=schema) if path.exists() else schema.empty_table()
