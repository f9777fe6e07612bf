"""Results of a simulation: Parquet tables, summary and the table for the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from bots.metrics import mean_interval
from bots.simulation import Trace
from bots.simulation.comparison import comparison_metrics
from bots.support.files import replace_text, replacing

COLUMNS = {
    "etr": "ETR",
    "coverage": "coverage",
    "signal": "signal",
    "completions": "completions",
    "best_score": "best score",
    "ttb50": "TTB 50%",
    "ttb100": "TTB 100%",
    "ttb100_completions": "TTB compl.",
    "bsf25": "BSF 25%",
    "bsf100": "BSF 100%",
    "log_loss": "log loss",
    "auc": "AUC",
    "overconfidence": "error/σ",
}


@dataclass(frozen=True)
class Results:
    """The runs of every arm in the order of the seeds; `random` first."""

    seeds: Sequence[int]
    traces: Mapping[str, Sequence[Trace]]

    def table(self) -> pa.Table:
        """One row per arm and seed with its metrics; a TTB that was never reached is infinite."""
        random = self.traces["random"]
        rows = [
            {"arm": arm, "seed": seed, **comparison_metrics(trace, baseline)}
            for arm, traces in self.traces.items()
            for seed, trace, baseline in zip(self.seeds, traces, random, strict=True)
        ]
        return pa.Table.from_pylist(rows)

    def curves(self) -> pa.Table:
        """Held-out score by arm, seed and step."""
        return self._long(lambda t: {"step": t.curve.at.astype(np.int32), "score": t.curve.scores})

    def steps(self) -> pa.Table:
        """Metrics of each batch, by arm, seed and step."""
        return self._long(
            lambda t: {
                "step": np.arange(1, len(t.etr) + 1, dtype=np.int32),
                "etr": t.etr,
                "coverage": t.coverage,
                "signal": t.signal,
                "predicted": t.predicted.mean(axis=1),
                "observed": t.observed.mean(axis=1),
                "brier": ((t.predicted - t.observed) ** 2).mean(axis=1),
                "lam": t.lam,
                "rho": t.rho,
                "p_star": t.p_star,
            }
        )

    def _long(self, columns: Callable[[Trace], dict[str, Any]]) -> pa.Table:
        parts = []
        for arm, traces in self.traces.items():
            for seed, trace in zip(self.seeds, traces, strict=True):
                part = columns(trace)
                size = len(next(iter(part.values())))
                parts.append(pa.table({"arm": [arm] * size, "seed": [seed] * size, **part}))
        return pa.concat_tables(parts)

    def write(self, folder: Path) -> None:
        """Write `results.parquet`, `curves.parquet`, `steps.parquet`, and means with intervals as `summary.json` and
        `table.md`."""
        for name, table in (("results", self.table()), ("curves", self.curves()), ("steps", self.steps())):
            with replacing(folder / f"{name}.parquet") as partial:
                pq.write_table(table, partial)
        replace_text(folder / "table.md", markdown(self.table()))
        replace_text(folder / "summary.json", json.dumps(summary(self.table()), indent=2) + "\n")


def summary(table: pa.Table) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """By arm and metric: mean, bounds of its 95 % interval over seeds, and how many seeds never reached it."""
    out: dict[str, dict[str, dict[str, float | int | None]]] = {}
    arms = np.array(table["arm"].to_pylist())
    for arm in dict.fromkeys(arms):
        out[str(arm)] = {}
        for name in table.column_names[2:]:
            found = mean_interval(table[name].to_numpy()[arms == arm])
            parts = {key: float(getattr(found, key)) for key in ("mean", "low", "high")}
            finite = {key: value if np.isfinite(value) else None for key, value in parts.items()}
            out[str(arm)][name] = {**finite, "never": found.never, "seeds": found.seeds}
    return out


def show(table: pa.Table) -> Table:
    """The table for the terminal: means and half the width of their 95 % intervals.

    Completions have columns only where they differ between arms.
    """
    found = summary(table)
    columns = dict(COLUMNS)
    if len({values["completions"]["mean"] for values in found.values()}) == 1:
        del columns["completions"], columns["ttb100_completions"]
    seeds = len(set(table["seed"].to_pylist()))
    over = "one seed is one draw" if seeds == 1 else "mean ± 95 % interval"
    out = Table(title=f"{seeds} seeds, {over}; TTB and BSF against random", title_justify="left", box=None)
    out.add_column("", no_wrap=True)
    for title in columns.values():
        out.add_column(title, justify="right", no_wrap=True)
    for arm, values in found.items():
        out.add_row(arm, *(cell(values[name]) for name in columns))
    return out


def cell(value: Mapping[str, float | int | None]) -> str:
    """A metric as text, such as `0.78 ±.05`, or in how many runs it was never reached."""
    mean, high = value["mean"], value["high"]
    if mean is None:
        return f"{value['never']}/{value['seeds']} never"
    return f"{mean:.3f}" if high is None else f"{mean:.3f} " + f"±{high - mean:.3f}".replace("±0.", "±.")


def markdown(table: pa.Table, columns: Mapping[str, str] = COLUMNS) -> str:
    """The same table as Markdown."""
    lines = ["| arm | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for arm, values in summary(table).items():
        lines.append(f"| {arm} | " + " | ".join(cell(values[name]) for name in columns) + " |")
    return "\n".join(lines) + "\n"
