"""A run's recorded rollouts, pool and beliefs: `rollouts/*.parquet`, `pool.arrow`, `posterior/beliefs.arrow`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.ipc as ipc

from bots.pool import TaskPool
from pipelines.report.run import Floats, ReportError, Run, reading
from pipelines.shared import job_folder
from pipelines.shared.job_folder import POOL


@dataclass(frozen=True)
class Groups:
    """Graded groups, one per row, in the order of their steps. As in the run, groups with an ungraded completion are
    left out.

    step: int64 (G,), training step. wave: int64 (G,), the wave that selected the group's task; equal to the step
    without generation ahead. row: int64 (G,), row of the pool. rewards: G arrays with the group's rewards in [0, 1].
    selected: rows of each wave, including ungraded ones.
    """

    step: npt.NDArray[np.int64]
    wave: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    rewards: list[Floats]
    selected: dict[int, npt.NDArray[np.int64]]

    @cached_property
    def rate(self) -> Floats:
        """Observed pass rates, float64 (G,)."""
        return np.array([rewards.mean() for rewards in self.rewards])

    def observations(self) -> Iterator[tuple[int, int, npt.NDArray[np.int64], list[Floats]]]:
        """(step, wave, rows, rewards) in the order in which the posterior observed them."""
        starts = np.flatnonzero(np.diff(self.step, prepend=-1) | np.diff(self.wave, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(self.step)], strict=True):
            here = slice(start, end)
            yield int(self.step[start]), int(self.wave[start]), self.row[here], self.rewards[here]


def read_pool(run: Run) -> TaskPool | None:
    """The run's training pool without prompts and answers; None if it was not written."""
    path = run.folder / POOL
    if not path.exists():
        return None
    with reading(path):
        return job_folder.read_pool(run.folder)


def read_beliefs(run: Run) -> pa.Table | None:
    """The final beliefs; None until the run has ended."""
    path = run.folder / "posterior" / "beliefs.arrow"
    if run.state == "still going" or not path.exists():
        return None
    with reading(path), pa.memory_map(str(path)) as file:
        return ipc.open_file(file).read_all()


def rollouts(run: Run) -> ds.Dataset | None:
    """The recorded rollouts up to the journal's last step; None if there are none."""
    folder = run.folder / "rollouts"
    files = sorted(folder.glob("*.parquet"))
    # After a resume from an earlier step there can be files of steps that have not been repeated yet.
    files = [file for file in files if file.stem.isdigit() and int(file.stem) <= run.last_step]
    with reading(folder):
        return ds.dataset(files, format="parquet") if files else None


def read_groups(run: Run, kept: ds.Dataset, pool: TaskPool) -> Groups:
    """The graded groups of the recorded rollouts. Raises ValueError for a task that is not in the pool."""
    with reading(run.folder / "rollouts"):
        table = kept.to_table(columns=["step", "task", "reward"])
    row = pc.index_in(table["task"], value_set=pool.table["id"].combine_chunks())
    if row.null_count:
        stranger = table["task"].filter(pc.is_null(row))[0].as_py()
        raise ValueError(f"the recorded rollouts contain the task {stranger!r}, which is not in pool.arrow")
    step, rows = table["step"].to_numpy().astype(np.int64), row.to_numpy().astype(np.int64)
    reward = table["reward"].to_numpy()
    of_wave, selected = _ledger(run)
    wave = np.array(
        [of_wave.get(key, key[0]) for key in zip(step.tolist(), rows.tolist(), strict=True)], np.int64
    )
    order = np.lexsort((rows, wave, step))
    step, wave, rows, reward = step[order], wave[order], rows[order], reward[order]
    for number, wave_rows in _by_wave(wave, rows):
        selected.setdefault(number, np.unique(wave_rows))
    starts = np.flatnonzero((np.diff(step, prepend=-1) != 0) | (np.diff(rows, prepend=-1) != 0))
    split = np.split(reward, starts[1:])
    graded = np.array([not np.isnan(group).any() for group in split], bool)
    rewards = [group for group, ok in zip(split, graded, strict=True) if ok]
    return Groups(step[starts][graded], wave[starts][graded], rows[starts][graded], rewards, selected)


def _by_wave(
    wave: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    order = np.argsort(wave, kind="stable")
    numbers, starts = np.unique(wave[order], return_index=True)
    return zip(numbers.tolist(), np.split(rows[order], starts[1:]), strict=True)


def _ledger(run: Run) -> tuple[dict[tuple[int, int], int], dict[int, npt.NDArray[np.int64]]]:
    """The wave of each (step, row), and the rows selected in each wave; empty if the run has no ledger.

    The file may be growing: an incomplete last line is skipped. A run that went back to a checkpoint repeats steps: the
    last record of a step counts.
    """
    path = run.folder / "ledger.jsonl"
    waves: dict[tuple[int, int], int] = {}
    selected: dict[int, list[int]] = {}
    with reading(path):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            break
        try:
            event = json.loads(line)
            match event["event"]:
                case "selected":
                    # Dynamic sampling adds tasks to a wave.
                    selected[event["wave"]] = selected.get(event["wave"], []) + event["rows"]
                case "trained":
                    waves |= {(event["step"], row): wave for wave, row in event["tasks"]}
                case "dropped":
                    waves[event["step"], event["row"]] = event["wave"]
                case "rewound":
                    selected = {wave: rows for wave, rows in selected.items() if wave <= event["wave"]}
        except (ValueError, LookupError, TypeError) as error:
            raise ReportError(f"line {number} of {path} is not a ledger event: {line[:80]!r}") from error
    return waves, {wave: np.unique(rows) for wave, rows in selected.items()}
