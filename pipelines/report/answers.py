"""What a run kept of its answers and its pool: `rollouts/*.parquet`, `pool.arrow`, `posterior/beliefs.arrow`."""

from __future__ import annotations

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
from pipelines.report.run import Floats, Run


@dataclass(frozen=True)
class Groups:
    """One graded group a row, by step; groups with an answer that could not be graded are left out, as the run did.

    step: int64 (G,). row: int64 (G,), row of the pool. rewards: G arrays of the group's rewards in [0, 1].
    """

    step: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    rewards: list[Floats]

    @cached_property
    def rate(self) -> Floats:
        """float64 (G,), observed pass rates."""
        return np.array([rewards.mean() for rewards in self.rewards])

    def by_step(self) -> Iterator[tuple[int, npt.NDArray[np.int64], list[Floats]]]:
        """(step, rows, rewards) in order of the steps."""
        starts = np.flatnonzero(np.diff(self.step, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(self.step)], strict=True):
            yield int(self.step[start]), self.row[start:end], self.rewards[start:end]


def read_pool(run: Run) -> TaskPool | None:
    """The pool that the run trained on, without prompts and answers; None where it was not written."""
    path = run.folder / "pool.arrow"
    if not path.exists():
        return None
    with pa.memory_map(str(path)) as file:
        table = ipc.open_file(file).read_all()
    known = [name for name in ("weak", "strong") if name in table.column_names]
    anchors = len(known) == 2 and any(table[name].null_count < table.num_rows for name in known)
    return TaskPool.from_arrow(table, "weak", "strong") if anchors else TaskPool.from_arrow(table)


def read_beliefs(run: Run) -> pa.Table | None:
    """The final beliefs; None while the run has not ended."""
    path = run.folder / "posterior" / "beliefs.arrow"
    if run.state == "still going" or not path.exists():
        return None
    with pa.memory_map(str(path)) as file:
        return ipc.open_file(file).read_all()


def rollouts(run: Run) -> ds.Dataset | None:
    """The kept answers up to the last step of the journal; None where none were kept."""
    files = sorted((run.folder / "rollouts").glob("*.parquet"))
    # A run that was cut off and resumed earlier can have files of steps that it has not come to again.
    files = [file for file in files if file.stem.isdigit() and int(file.stem) <= run.last_step]
    return ds.dataset(files, format="parquet") if files else None


def read_groups(kept: ds.Dataset, pool: TaskPool) -> Groups:
    """The graded groups of the kept answers. Tasks that the pool does not hold are a ValueError."""
    table = kept.to_table(columns=["step", "task", "reward"])
    row = pc.index_in(table["task"], value_set=pool.table["id"].combine_chunks())
    if row.null_count:
        stranger = table["task"].filter(pc.is_null(row))[0].as_py()
        raise ValueError(f"the kept answers name the task {stranger!r}, which pool.arrow does not hold")
    step, rows = table["step"].to_numpy().astype(np.int64), row.to_numpy().astype(np.int64)
    reward = table["reward"].to_numpy()
    order = np.lexsort((rows, step))
    step, rows, reward = step[order], rows[order], reward[order]
    starts = np.flatnonzero((np.diff(step, prepend=-1) != 0) | (np.diff(rows, prepend=-1) != 0))
    split = np.split(reward, starts[1:])
    graded = np.array([not np.isnan(group).any() for group in split], bool)
    return Groups(
        step[starts][graded], rows[starts][graded], [g for g, ok in zip(split, graded, strict=True) if ok]
    )
