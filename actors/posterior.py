"""The posterior actor: the run's only keeper of beliefs. A thin shell around `bots.BOTS`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from bots import BOTS, TaskPool


@ray.remote(num_cpus=0)
class PosteriorActor:
    """Selects tasks and takes in what was observed. Calls are idempotent by step, so they may be retried.

    pool: the tasks. settings: keyword arguments of `BOTS`.
    """

    def __init__(self, pool: TaskPool, settings: dict[str, Any]) -> None:
        self.pool = pool
        self.bots = BOTS(pool, **settings)
        self.selected: dict[int, npt.NDArray[np.int64]] = {}

    def select(self, step: int, tasks: int) -> tuple[npt.NDArray[np.int64], float]:
        """Rows of the pool for a step, and the seconds it took to choose them."""
        started = time.perf_counter()
        if step not in self.selected:
            self.selected = {step: self.bots.select(tasks, step=step)}
        return self.selected[step], time.perf_counter() - started

    def observe(
        self, step: int, rows: npt.NDArray[np.int64], rewards: npt.NDArray[np.float64]
    ) -> dict[str, float]:
        """Update every belief with a step's rewards, (len(rows), n) in [0, 1].

        Returns the means that were believed of the observed tasks, their Brier score, and the seconds.
        """
        started = time.perf_counter()
        predicted = self.bots.alpha[rows] / (self.bots.alpha[rows] + self.bots.beta[rows])
        observed = rewards.mean(1)
        self.bots.observe(rows, rewards, step=step)
        return {
            "predicted_pass_rate": float(predicted.mean()),
            "brier": float(np.mean((predicted - observed) ** 2)),
            "observe_seconds": time.perf_counter() - started,
            **{f"evidence/{name}": value for name, value in self.bots.metrics().items()},
        }

    def snapshot(self) -> tuple[bytes, dict[int, npt.NDArray[np.int64]]]:
        """Everything to continue from: the beliefs' snapshot, and the selection already made for later."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "posterior.arrow"
            self.bots.save(path)
            return path.read_bytes(), self.selected

    def restore(self, snapshot: bytes, selected: dict[int, npt.NDArray[np.int64]]) -> None:
        """Go back to a snapshot; refused with ValueError if it belongs to another pool."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "posterior.arrow"
            path.write_bytes(snapshot)
            self.bots = BOTS.load(path, self.pool)
        self.selected = dict(selected)

    def table(self) -> pa.Table:
        """The beliefs as an Arrow table."""
        return self.bots.table()
