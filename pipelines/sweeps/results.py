"""The results of a sweep: one Parquet table of all trials, and the best configuration ready to run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from ray.tune import ExperimentAnalysis, ResultGrid
from rich.table import Table

from bots.config.tree import tree_of
from bots.metrics import Interval, paired_difference
from bots.support.files import replace_text, replacing
from pipelines.sweeps.config import Sweep
from pipelines.sweeps.space import lay
from pipelines.sweeps.trials import CURVE, PER_SEED, REPORTED

METRICS = ("step", *REPORTED, "tokens")


SYMBOLS = {
    "selection.lam": "λ",
    "selection.rho": "ρ",
    "selection.p_star": "p*",
    "selection.evidence_options.gamma": "γ",
    "learner.lr": "lr",
}


@dataclass(frozen=True)
class Trial:
    """One trial.

    point: its values in the space. metrics: its last report. per_seed: the metric by seed (simulations only). curve:
    {"step": …, "score": …}. status: finished, stopped (by the scheduler), failed, or unfinished (sweep interrupted).
    """

    name: str
    point: dict[str, Any]
    metrics: dict[str, float]
    per_seed: list[float]
    curve: dict[str, list[float]]
    status: str
    seconds: float
    error: str | None


@dataclass(frozen=True)
class SweepResults:
    """All trials of a sweep, in order of creation. interrupted: whether the sweep was."""

    sweep: Sweep
    trials: Sequence[Trial]
    interrupted: bool = False

    @property
    def metric(self) -> str:
        """Name of the metric that is maximised or minimised."""
        return self.sweep.config.search.metric

    def value(self, trial: Trial) -> float:
        """The metric of a trial; nan if it never reported."""
        return trial.metrics.get(self.metric, float("nan"))

    def ranked(self) -> list[Trial]:
        """Finished trials, best first. Stopped ones had a smaller budget."""
        whole = [t for t in self.trials if t.status == "finished" and np.isfinite(self.value(t))]
        return sorted(whole, key=self.value, reverse=not self.sweep.minimised)

    def at_base(self) -> Trial | None:
        """The trial at the base's values, if there is one."""
        point = self.sweep.base_point()
        return next((t for t in self.trials if t.point == point), None)

    def best_against_base(self) -> Interval | None:
        """Best minus base, paired by seed; None if the base's trial did not finish or has no seeds.

        The best was chosen on the same seeds, so this overestimates the difference.
        """
        ranked, base = self.ranked(), self.at_base()
        if not ranked or base is None or base.status != "finished":
            return None
        ours, theirs = ranked[0].per_seed, base.per_seed
        return paired_difference(ours, theirs) if ours and len(ours) == len(theirs) else None

    def table(self) -> pa.Table:
        """One row per trial: its values as `section.key` columns, its metrics, status, seconds and error.

        Values that do not fit one column type (names and lists, sections) are JSON text.
        """
        columns = {key: _column([t.point[key] for t in self.trials]) for key in self.sweep.config.space}
        rows = [
            {
                "trial": t.name,
                **{key: column[i] for key, column in columns.items()},
                **{
                    name: t.metrics.get(name)
                    for name in METRICS
                    if any(name in o.metrics for o in self.trials)
                },
                "per_seed": t.per_seed,
                "status": t.status,
                "seconds": t.seconds,
                "error": t.error,
            }
            for i, t in enumerate(self.trials)
        ]
        return pa.Table.from_pylist(rows)

    def curves(self) -> pa.Table:
        """Learning curves in long form: trial, step, score."""
        rows = [
            {"trial": t.name, "step": int(step), "score": float(score)}
            for t in self.trials
            for step, score in zip(t.curve["step"], t.curve["score"], strict=True)
        ]
        schema = pa.schema([("trial", pa.string()), ("step", pa.int64()), ("score", pa.float64())])
        return pa.Table.from_pylist(rows, schema)

    def best_yaml(self) -> str:
        """The best trial as a configuration for `bots train` or `bots simulate`.

        Raises ValueError if no trial finished.
        """
        ranked = self.ranked()
        if not ranked:
            raise ValueError("no trial finished; trials.parquet says why")
        config = self.sweep.config
        name = f"{config.sweep.name}_best"
        tree = tree_of(self.sweep.job({**ranked[0].point, "run.name": name}))
        if config.target == "train":  # trials of train jobs have their own folder
            tree = lay(tree, {"run.folder": "runs"})
        where = ", ".join(f"{key} = {value}" for key, value in ranked[0].point.items())
        found = f"{self.metric} {self.value(ranked[0]):.4f}, the best of {len(self.trials)} trials"
        of = f"the sweep {config.sweep.name}" + (", which was interrupted" if self.interrupted else "")
        header = f"# {where}\n# {found} of {of}.\n# bots {config.target} best.yaml\n"
        return header + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)

    def write(self, folder: Path) -> None:
        """Write `best.yaml`, `summary.json`, `trials.parquet` and `curves.parquet`."""
        if self.ranked():
            replace_text(folder / "best.yaml", self.best_yaml())
        replace_text(folder / "summary.json", json.dumps(self.summary(), indent=2) + "\n")
        for name, table in (("trials", self.table), ("curves", self.curves)):
            with replacing(folder / f"{name}.parquet") as partial:
                pq.write_table(table(), partial)

    def summary(self) -> dict[str, Any]:
        """The sweep in a few numbers."""
        ranked, base, gain = self.ranked(), self.at_base(), self.best_against_base()
        statuses = [t.status for t in self.trials]
        return {
            "trials": len(self.trials),
            **{status: statuses.count(status) for status in ("finished", "stopped", "failed", "unfinished")},
            "interrupted": self.interrupted,
            "metric": self.metric,
            "best": {"point": ranked[0].point, "value": self.value(ranked[0])} if ranked else None,
            "base": None if base is None else {"point": base.point, "value": self.value(base)},
            "best_minus_base": None if gain is None else vars(gain),
        }

    def show(self, most: int = 12) -> Table:
        """Table of the best trials and the one at the base's values, for the terminal."""
        keys = list(self.sweep.config.space)
        base = self.at_base()
        cut = " of an interrupted sweep" if self.interrupted else ""
        title = f"{len(self.trials)} trials{cut}, by {self.metric}"
        out = Table(title=title, title_justify="left", box=None)
        for title in ("trial", *(SYMBOLS.get(key, key) for key in keys), self.metric, "status", ""):
            out.add_column(
                title, justify="left" if title in ("trial", "status", "") else "right", no_wrap=True
            )
        ranked = self.ranked()
        others = [t for t in self.trials if t not in ranked]
        shown = (ranked + others)[:most]
        if base is not None and base not in shown:
            shown.append(base)
        for t in shown:
            value = "" if np.isnan(self.value(t)) else f"{self.value(t):.4f}"
            note = "base" if t is base else ""
            out.add_row(t.name, *(_short(t.point[key]) for key in keys), value, t.status, note)
        return out


def read_results(sweep: Sweep, grid: ResultGrid, interrupted: bool = False) -> SweepResults:
    """Read every trial from Ray Tune. interrupted: whether the sweep was, so that trials may be unfinished."""
    unfinished = _unfinished(grid) if interrupted else set()
    trials, budget = [], sweep.budget
    for result in (grid[i] for i in range(len(grid))):
        reported = result.metrics or {}
        metrics = {name: float(reported[name]) for name in METRICS if reported.get(name) is not None}
        reached = metrics.get("step", 0.0) >= budget
        name = reported.get("trial_id") or Path(result.path).name
        early = "unfinished" if name in unfinished else "stopped"
        status = "failed" if result.error else "finished" if reached else early
        trials.append(
            Trial(
                name,
                {key: (result.config or {})[key] for key in sweep.config.space},
                metrics,
                list(reported.get(PER_SEED) or []),
                reported.get(CURVE) or {"step": [], "score": []},
                status,
                float(reported.get("time_total_s", 0.0)),
                str(result.error).strip().splitlines()[-1] if result.error else None,
            )
        )
    return SweepResults(sweep, trials, interrupted)


def _unfinished(grid: ResultGrid) -> set[str]:
    """Trials that were running at the interrupt, from Tune's saved state; in memory Tune has ended them since."""
    saved = ExperimentAnalysis(grid.experiment_path).trials or []
    return {trial.trial_id for trial in saved if not trial.is_finished()}


def _column(values: list[Any]) -> list[Any]:
    """The values as they are, or as JSON text if Parquet has no column type for them."""
    try:
        if not pa.types.is_struct(pa.array(values).type):  # a struct without fields cannot be written
            return values
    except pa.ArrowException:
        pass
    return [json.dumps(value) for value in values]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
