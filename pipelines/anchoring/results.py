"""What an anchors job writes: graded blocks as they finish, and finally the pool with its pass rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bots.pool import TaskPool
from bots.support.files import replacing
from pipelines.anchoring.config import REFERENCES, AnchorsConfig
from pipelines.anchoring.plot import draw


def block_file(folder: Path, name: str, number: int) -> Path:
    """The file of a graded block."""
    return folder / "blocks" / name / f"{number:06d}.parquet"


def write_results(
    config: AnchorsConfig, pool: TaskPool, rows: npt.NDArray[np.int64], folder: Path
) -> dict[str, Any]:
    """Join the blocks to the pool by id, write the tables and the plot; returns the summary."""
    table = pool.table
    summary: dict[str, Any] = {"tasks": len(pool), "measured": len(rows), "samples": config.rollout.samples}
    for name in REFERENCES:
        measured = pq.read_table(folder / "blocks" / name)
        rates = _pass_rates(measured["rewards"].combine_chunks())
        where = pc.index_in(table["id"], value_set=measured["id"].combine_chunks()).combine_chunks()
        column = rates.take(where)
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
        flat = measured["rewards"].combine_chunks().flatten()
        failures = measured["failure"].drop_null()
        summary[name] = {
            "mean": pc.mean(rates).as_py(),
            "never_solved": int(pc.sum(pc.equal(rates, 0)).as_py() or 0),
            "always_solved": int(pc.sum(pc.equal(rates, 1)).as_py() or 0),
            "ungraded_answers": flat.null_count,
            "first_failure": failures[0].as_py() if len(failures) else None,
            "tokens": pc.sum(measured["tokens"]).as_py(),
        }
    known = table.filter(pc.and_(pc.is_valid(table["weak"]), pc.is_valid(table["strong"])))
    weak, strong = (known[name].to_numpy() for name in REFERENCES)
    if len(known):
        summary |= draw(weak, strong, known["domain"].to_pylist(), folder / "anchors.png")
    write_table(folder / "pool.parquet", table)
    write_table(folder / "anchors.parquet", known.select(["id", *REFERENCES]))
    return summary


def _pass_rates(rewards: pa.ListArray) -> pa.FloatArray:
    """float32 (tasks,): mean reward of the graded completions; null if none could be graded."""
    owners = rewards.value_parent_indices()
    values = rewards.flatten()
    graded = values.is_valid()
    counts = np.bincount(owners.filter(graded).to_numpy(), minlength=len(rewards))
    sums = np.bincount(
        owners.filter(graded).to_numpy(), weights=values.drop_null().to_numpy(), minlength=len(rewards)
    )
    with np.errstate(invalid="ignore"):
        return pa.array((sums / counts).astype(np.float32), mask=counts == 0)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically."""
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")
