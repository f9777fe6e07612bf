"""Results of a study as Parquet: one row per run and one per step of a run.

A run that was repeated to measure its seconds has one row per sitting.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from bots.config.tree import ConfigError
from bots.metrics import Curve
from bots.support.files import replacing
from pipelines.shared.summary import read_metrics, training_seconds
from pipelines.studies.config import Key, StudyConfig

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
        ("machine", pa.string()),
        ("sitting", pa.string()),
        ("step", pa.int32()),
        ("score", pa.float64()),
        ("domain_scores", pa.map_(pa.string(), pa.float64())),
        ("tokens", pa.float64()),
        ("seconds", pa.float64()),
        ("etr", pa.float64()),
        ("brier", pa.float64()),
        ("coverage", pa.float64()),
        ("select_wait_seconds", pa.float64()),
        ("evaluation", pa.map_(pa.string(), pa.float64())),
    ]
)
EVALUATED = ("pass@", "evaluation_entropy", "evaluation_completion_tokens", "evaluation_finished_share")
"""How the names of an evaluation's metrics begin that the table keeps besides the scores."""


Place = tuple[str, str]
"""Where seconds were measured: the kind of machine, and its sitting (which machine, since which boot)."""


@dataclass(frozen=True)
class StudyRun:
    """A finished run's curves.

    against: scores over "steps" and generated "tokens". timed: scores over training seconds, by the place where they
    were measured; empty if the run was not timed. etr, brier: float64 (steps,), the latter NaN where nothing was
    predicted. coverage: share of the pool that was observed by the end; NaN if not recorded. last: the last score by
    domain, evaluation: the last evaluation's other metrics by name ("pass@2"); each empty if not recorded.
    """

    against: dict[str, Curve]
    etr: np.ndarray
    brier: np.ndarray
    coverage: float
    last: dict[str, float]
    evaluation: dict[str, float] = field(default_factory=dict)
    timed: dict[Place, Curve] = field(default_factory=dict)

    def beside(self, other: StudyRun, cost: str) -> tuple[Curve, Curve] | None:
        """Both runs' curves over a cost; None for seconds that were not measured on one machine in one sitting.

        Machines of the same kind differed by half in speed from day to day, and all seeds of an arm with them. That is
        more than the effect to be measured, and a test over seeds cannot correct for it.
        """
        if cost != "seconds":
            return self.against[cost], other.against[cost]
        shared = [place for place in self.timed if place in other.timed]
        return (self.timed[shared[-1]], other.timed[shared[-1]]) if shared else None


class StudyResults:
    """The study's two tables, `runs.parquet` and `steps.parquet`, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = _read(folder / "runs.parquet", RUNS, ("pool", "arm", "seed", "fingerprint"))
        self.steps = _read(
            folder / "steps.parquet", STEPS, ("pool", "arm", "seed", "step", "score", "tokens")
        )
        if self.runs.num_rows and not self.steps.num_rows:
            raise ConfigError(
                f"{folder / 'runs.parquet'} has {self.runs.num_rows} runs, but {folder / 'steps.parquet'} is missing "
                "or empty. Put a copy of it back; or move runs.parquet away, and the study repeats its runs"
            )
        self._curves: dict[Key, StudyRun | None] = {}

    def fingerprint(self, key: Key) -> str | None:
        """Fingerprint of a run's configuration; None if there is no such run."""
        found = self.runs.filter(_is(key))
        return found["fingerprint"][0].as_py() if found.num_rows else None

    def has(self, study: StudyConfig, key: Key) -> bool:
        """Whether there is such a run with the study's current configuration."""
        return self.fingerprint(key) == study.fingerprint(key)

    def timed(self, key: Key, place: Place | None = None) -> bool:
        """Whether a run was timed: in this place, or anywhere."""
        rows = _is(key) if place is None else _is(key) & _in(place)
        return bool(self.runs.filter(rows & pc.field("wall_seconds").is_valid()).num_rows)

    def repeats(self, keys: Iterable[Key]) -> tuple[int, int, int | None]:
        """Number of repeated runs; of those that reproduced every step's tokens and scores; and of the first steps that
        all others reproduced, None if there are no others.
        """
        what = ["step", "tokens", "score", "etr"]
        same, least = 0, []
        for key in keys:
            made = [steps.select(what) for steps in self._made(key).values()]
            for other in made[1:]:
                if made[0].equals(other):
                    same += 1
                    continue
                pairs = zip(made[0].to_pylist(), other.to_pylist(), strict=False)
                least.append(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
        return same + len(least), same, min(least, default=None)

    def leave_out_stale(self, study: StudyConfig) -> int:
        """Drop, in memory only, runs with another configuration than the study's; returns how many."""
        stale = [
            key for key in study.plan() if self.fingerprint(key) is not None and not self.has(study, key)
        ]
        for key in stale:
            self.runs = self.runs.filter(pc.invert(_is(key)))
        self._curves.clear()
        return len(stale)

    @classmethod
    def add(cls, results: Path, key: Key, folder: Path, about: dict[str, Any], timed: bool = True) -> None:
        """Add a finished run's folder to the tables on disk. Concurrent processes wait for each other.

        Replaces earlier runs of the same key: all with another configuration, and one made in the same place. about:
        the columns of `RUNS` besides the key. timed: False leaves the seconds out.
        """
        pool, arm, seed = key
        place = about["machine"], about["sitting"]
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
            given["evaluation"] = [
                (key, value) for key, value in record.items() if key.startswith(EVALUATED)
            ] or None
            known = {"pool": pool, "arm": arm, "seed": seed, "machine": place[0], "sitting": place[1]}
            rows.append(known | given | spent | {"brier": brier})
        results.mkdir(parents=True, exist_ok=True)
        with FileLock(results / "tables.lock"):
            tables = cls(results)
            same = tables.fingerprint(key) == about["fingerprint"]
            replaced = _is(key) & _in(place) if same else _is(key)
            # The table of runs decides what is missing, so a run is in it only while its steps are on disk: the old row
            # is removed first, the new one added last. A kill in between loses a run but never mixes two.
            if tables.runs.filter(replaced).num_rows:
                tables._write("runs", tables.runs.filter(pc.invert(replaced)))
            tables._write("steps", _with(tables.steps, rows, replaced))
            row = {"pool": pool, "arm": arm, "seed": seed, **about}
            tables._write("runs", _with(tables.runs, [row], replaced))

    def run(self, key: Key) -> StudyRun | None:
        """A run's curves; None if it has no row in the table of runs."""
        if key not in self._curves:
            self._curves[key] = self._read_curves(key)
        return self._curves[key]

    def _read_curves(self, key: Key) -> StudyRun | None:
        made = self._made(key)
        if not made:
            return None
        # Scores, steps and tokens are the first run's; repeated runs add their seconds, and what it did not record.
        first = next(iter(made.values()))
        training = first.filter(pc.greater(first["step"], 0))
        return StudyRun(
            {what: _curve(first, column) for what, column in (("steps", "step"), ("tokens", "tokens"))},
            training["etr"].to_numpy(),
            training["brier"].to_numpy(),
            _last_recorded(made.values(), "coverage", math.nan),
            dict(_last_recorded(made.values(), "domain_scores", ())),
            dict(_last_recorded(made.values(), "evaluation", ())),
            {
                place: _curve(steps, "seconds")
                for place, steps in made.items()
                if not steps["seconds"].null_count
            },
        )

    def _made(self, key: Key) -> dict[Place, pa.Table]:
        """The steps of a run by place, in the order of the repetitions."""
        steps = self.steps.filter(_is(key)).sort_by("step")
        places = [(row["machine"], row["sitting"]) for row in self.runs.filter(_is(key)).to_pylist()]
        return {place: here for place in places if (here := steps.filter(_in(place))).num_rows}

    def _write(self, name: str, table: pa.Table) -> None:
        with replacing(self.folder / f"{name}.parquet") as partial:
            pq.write_table(table, partial)


def _scored(steps: pa.Table) -> pa.Table:
    return steps.filter(pc.is_valid(steps["score"]))


def _last_recorded(made: Iterable[pa.Table], column: str, missing: Any) -> Any:
    """A column's last value in the first run that recorded it."""
    recorded = (steps[column].drop_null() for steps in made)
    return next((values[-1].as_py() for values in recorded if len(values)), missing)


def _curve(steps: pa.Table, cost: str) -> Curve:
    scored = _scored(steps)
    return Curve(scored[cost].to_numpy().astype(float), scored["score"].to_numpy())


def _with(table: pa.Table, rows: list[dict[str, Any]], replaced: pc.Expression) -> pa.Table:
    kept = table.filter(pc.invert(replaced))
    return pa.concat_tables([kept, pa.Table.from_pylist(rows, schema=table.schema)])


def _in(place: Place) -> pc.Expression:
    machine, sitting = place
    return (pc.field("machine") == machine) & (pc.field("sitting") == sitting)


def _is(key: Key) -> pc.Expression:
    pool, arm, seed = key
    return (pc.field("pool") == pool) & (pc.field("arm") == arm) & (pc.field("seed") == seed)


def _read(path: Path, schema: pa.Schema, needed: tuple[str, ...]) -> pa.Table:
    """A table; empty if there is none. Columns that an earlier version did not have are null, but for the needed ones.

    Raises ConfigError for a file that is damaged or something else.
    """
    if not path.exists():
        return schema.empty_table()
    try:
        lacking = [name for name in needed if name not in pq.read_schema(path).names]
        if not lacking:
            return pq.read_table(path, schema=schema)
        what = f"it has no column {lacking[0]!r}"
    except (OSError, ValueError, pa.ArrowException) as error:
        what = str(error).partition("\n")[0]
    raise ConfigError(
        f"{path} is damaged, or is no table of a study: {what}. Put a copy of it back; or move it away together with "
        f"the other table of {path.parent}, and the study repeats its runs"
    )
