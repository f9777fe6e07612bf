"""Live progress of a run: one updating line of metrics in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from typing import Any

import ray
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.shared.command import warn

FIRST_STEPS = 3
"""How many steps are looked at before completions without an end are warned of."""


class Progress:
    """Shows the journal's records. `with Progress(...) as p: while …: p.poll()`.

    journal: handle of the journal actor. steps: `run.steps`.
    """

    def __init__(self, journal: Any, steps: int, title: str, console: Console | None = None) -> None:
        self.console = console or Console()
        self.journal = journal
        self.steps = steps
        self.title = title
        self.records: list[dict[str, Any]] = []
        self.edition = -1
        self.started = time.monotonic()
        self._live = Live(console=self.console, refresh_per_second=4, transient=True)
        self._printed = -1
        self._warned = False

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    @property
    def step(self) -> int:
        """The newest completed step; 0 before the first."""
        return self.records[-1]["step"] if self.records else 0

    def poll(self) -> None:
        """Fetch new records and show them; after a rewind to a checkpoint, drop the undone ones."""
        edition, start, records = ray.get(self.journal.news.remote(self.edition, len(self.records)))
        if edition != self.edition and self.records:
            # Steps that are repeated are shown again.
            self._printed = min(self._printed, records[-1]["step"] if records else -1)
        self.edition, self.records = edition, self.records[:start] + records
        self._warn_of_unfinished()
        if self.console.is_terminal:
            self._live.update(self._table())
        else:
            self._print_new()

    def _warn_of_unfinished(self) -> None:
        """Say once that most completions of the first steps ran into the token limit."""
        shares = [record["finished_share"] for record in self.records if "finished_share" in record]
        if self._warned or len(shares) < FIRST_STEPS:
            return
        self._warned = True
        share = sum(shares[:FIRST_STEPS]) / FIRST_STEPS
        if share < 0.5:
            warn(
                self.console,
                f"only {share:.0%} of the completions of the first {FIRST_STEPS} steps ended by themselves; the others "
                "ran into rollout.max_tokens. Raise it, or look in rollouts/ whether they go on after the answer: the "
                "model may not know the end that pool.template teaches (plain suits base models)",
            )

    def _print_new(self) -> None:
        for record in self.records:
            if record["step"] > self._printed and "score" in record:
                self._printed = record["step"]
                self.console.print(self.line(record), highlight=False, soft_wrap=True)

    def line(self, record: dict[str, Any]) -> str:
        """One record as a line of text."""
        cells = self._cells(record)
        return f"{self.title:<8} " + "  ".join(f"{name} {value}" for name, value in cells.items())

    def _table(self) -> Table:
        table = Table(title=self.title, title_justify="left", box=None, padding=(0, 2))
        if not self.records:
            table.add_column("state")
            table.add_row(f"engines and learner are starting ({time.monotonic() - self.started:.0f} s)")
            return table
        cells = self._cells(self.records[-1])
        for name in cells:
            table.add_column(name, justify="right")
        table.add_row(*cells.values())
        return table

    def _cells(self, record: dict[str, Any]) -> dict[str, str]:
        past = [r for r in self.records if r["step"] <= record["step"]]
        scores = [r["score"] for r in past if "score" in r]
        recent = past[-10:]
        cells = {"step": f"{record['step']}/{self.steps}"}
        if scores:
            cells["score"] = f"{scores[-1]:.3f}"
            cells["best"] = f"{max(scores):.3f}"
        if "etr" in record:
            # Step 0 is only an evaluation and has no duration.
            timed = [r for r in recent if "seconds" in r]
            seconds = sum(r["seconds"] for r in timed)
            cells["ETR"] = f"{_mean(recent, 'etr'):.2f}"
            cells["reward"] = f"{_mean(recent, 'reward'):.2f}"
            cells["tokens/s"] = f"{sum(r.get('tokens', 0) for r in recent) / seconds:,.0f}"
            cells["staleness"] = f"{record['staleness']:.0f}"
            left = (self.steps - record["step"]) * seconds / len(timed)
            cells["left"] = f"{int(left) // 60}:{int(left) % 60:02d}"
        return cells


def _mean(records: list[dict[str, Any]], key: str) -> float:
    values = [r[key] for r in records if key in r]
    return sum(values) / len(values) if values else math.nan
