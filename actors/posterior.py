"""The posterior actor holds a run's beliefs. A thin, restartable shell around `bots.BOTS`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc as ipc
import ray

from bots import BOTS, TaskPool
from bots.belief.bins import age_bins, batch_bins, pool_bins
from bots.metrics.coverage import coverage
from bots.pool import CONTENT
from bots.support.arrays import Rows, as_batch
from bots.support.event_log import EventLog
from bots.support.files import replacing

WAVE = "step"
"""Key of the wave in the log; saved runs use this name."""


def write_pool(pool: TaskPool, path: Path) -> None:
    """Write what selection needs from a pool as an Arrow IPC file: prompt and answer become one digest per row."""
    unused = [name for name in ("prompt", "answer", "solution") if name in pool.table.column_names]
    table = pool.table.drop_columns(unused).append_column(CONTENT, pa.array(pool.content))
    with (
        replacing(path) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)


def merged_metrics(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Merge the metrics of two consecutive observations of one batch; `first` may be empty.

    Metrics of the batch are summed or averaged over tasks. All others take the second observation's value.
    """
    if not first:
        return second
    out = first | second
    tasks = [metrics["posterior/batch/tasks"] for metrics in (first, second)]
    for name, value in second.items():
        if name.startswith("beliefs/"):
            out[name] = [round(a + b, 4) for a, b in zip(first[name], value, strict=True)]
        elif name in ("observe_seconds", "posterior/batch/tasks"):
            out[name] = first[name] + value
        elif name.startswith("posterior/batch/"):
            out[name] = (first[name] * tasks[0] + value * tasks[1]) / sum(tasks)
    return out


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class PosteriorActor:
    """Selects tasks and updates the beliefs.

    Every call is logged before it takes effect, so a restarted actor restores its exact state: it loads the
    snapshot and replays the log. Calls are idempotent by wave, because Ray repeats pending calls.

    - pool: the file that `write_pool` wrote.
    - anchors: names of its weak and strong columns.
    - settings: keyword arguments of `BOTS`.
    - folder: holds snapshot and log.
    """

    def __init__(
        self, pool: str, anchors: tuple[str | None, str | None], settings: dict[str, Any], folder: str
    ) -> None:
        # From a file, not the object store: a restarted actor must find it after any failure.
        with pa.memory_map(pool) as file:
            self.pool = TaskPool.from_arrow(ipc.open_file(file).read_all(), *anchors)
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = EventLog(self.folder / "log.jsonl")
        self.settings = settings
        self._load()
        for event in self.log.replay():
            self._apply(event)

    def select(
        self, wave: int, tasks: int, exclude: Sequence[int] = (), refill: int = 0
    ) -> tuple[Rows, float]:
        """Rows of the pool for a wave, and the seconds the selection took.

        exclude: rows that must not be selected because they are in flight.
        refill: numbers further selections for the same wave.
        """
        started = time.perf_counter()
        if (wave, refill) not in self.selected:
            event = {"do": "select", WAVE: wave, "tasks": tasks, "exclude": list(exclude)}
            self._record(event | ({"refill": refill} if refill else {}))
        return self.selected[wave, refill], time.perf_counter() - started

    def rollouts(self, wave: int, refill: int = 0) -> Rows:
        """How many completions to draw for each row that `select` returned for this wave, int64 (rows,)."""
        return self.allocated[wave, refill]

    def observe(
        self, wave: int, rows: Rows, rewards: npt.NDArray[np.float64] | Sequence[npt.NDArray[np.float64]]
    ) -> dict[str, Any]:
        """Update every belief with the rewards of a wave, or of part of one, (len(rows), n) in [0, 1].

        rewards: if group sizes differ, a list of arrays (n,).

        Returns `BOTS.metrics` (how well the pass rates were predicted, μ̃ …), the batch's beliefs against its pass
        rates (`bots.belief.bins`) and the seconds.
        """
        started = time.perf_counter()
        self._record(
            {
                "do": "observe",
                WAVE: wave,
                "rows": rows.tolist(),
                "rewards": [group.tolist() for group in rewards],
            }
        )
        metrics = {f"posterior/{name}": value for name, value in self.bots.metrics().items()}
        expected = self.expected[wave, tuple(rows.tolist())]
        return metrics | expected | {"observe_seconds": time.perf_counter() - started}

    def survey(self) -> dict[str, Any]:
        """Summary of the whole pool, O(K), for evaluation steps.

        Returns `beliefs/pool`, the distribution of its posterior means, and `coverage`, the share of its tasks
        observed at least once, also by difficulty: low if a selector keeps picking the same few tasks.
        """
        observations = self.bots.table()["observations"].to_numpy()
        return pool_bins(self.bots.alpha, self.bots.beta) | coverage(self.bots.pool, observations)

    def snapshot(self) -> tuple[bytes, dict[int, list[int]]]:
        """Everything needed to continue: the beliefs' snapshot and the selections already made."""
        path = self.folder / "snapshot.arrow"
        self.bots.save(path)
        # Refills belong to a wave that is already complete.
        selected = {wave: rows.tolist() for (wave, refill), rows in self.selected.items() if not refill}
        self._restart_log(selected)
        return path.read_bytes(), selected

    def restore(self, snapshot: bytes, selected: dict[int, list[int]]) -> None:
        """Restore a snapshot. Raises ValueError if it belongs to another pool."""
        with replacing(self.folder / "snapshot.arrow") as partial:
            partial.write_bytes(snapshot)
        self._restart_log(selected)
        self._load()
        for event in self.log.replay():
            self._apply(event)

    def reset(self) -> None:
        """Start over, for a learner that died before its first checkpoint."""
        (self.folder / "snapshot.arrow").unlink(missing_ok=True)
        self.log.clear()
        self._load()

    def pid(self) -> int:
        """Process id of the actor, which changes when Ray restarts it."""
        return os.getpid()

    def table(self) -> pa.Table:
        """The beliefs as an Arrow table."""
        return self.bots.table()

    def _load(self) -> None:
        snapshot = self.folder / "snapshot.arrow"
        self.bots = BOTS.load(snapshot, self.pool) if snapshot.exists() else BOTS(self.pool, **self.settings)
        self.selected: dict[tuple[int, int], Rows] = {}
        self.allocated: dict[tuple[int, int], Rows] = {}
        self.expected: dict[tuple[int, tuple[int, ...]], dict[str, Any]] = {}

    def _restart_log(self, selected: dict[int, list[int]]) -> None:
        # After a crash between snapshot and this, events already in the snapshot are replayed; they change nothing.
        self.log.clear()
        for wave, rows in selected.items():
            self.log.append({"do": "selected", WAVE: wave, "rows": rows})

    def _record(self, event: dict[str, Any]) -> None:
        self.log.append(event)
        self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        wave = event[WAVE]
        match event["do"]:
            case "select":
                # Only the newest matters: the coordinator never requests an older one again.
                exclude = event.get("exclude", [])
                rows = self.bots.select(event["tasks"], step=wave, exclude=exclude)
                self.selected = {(wave, event.get("refill", 0)): rows}
                self.allocated = {(wave, event.get("refill", 0)): self.bots.allocate(rows, step=wave)}
            case "selected":
                self.selected = {(wave, 0): np.array(event["rows"], np.int64)}
            case "observe":
                rows, rewards = np.array(event["rows"], np.int64), as_batch(event["rewards"])
                # A repeated call must return the first call's expectations: by now the beliefs include the outcome.
                batch = wave, tuple(event["rows"])
                if batch not in self.expected:
                    before, last = self.bots.predict_mean(rows), self.bots.last_observed(rows)
                    rates = np.array([group.mean() for group in rewards])
                    self.expected = {batch: batch_bins(before, rates) | age_bins(last, wave, before, rates)}
                self.bots.observe(rows, rewards, step=wave)
