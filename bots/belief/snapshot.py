"""Snapshots: the state of a BOTS in one Arrow IPC file, written atomically and refused if incomplete."""

from __future__ import annotations

import base64
import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bots.belief.base import BeliefModel, as_arrow
from bots.belief.columns import Beliefs
from bots.belief.prior import AnchorPrior, Prior, PriorSpec
from bots.pool import IDENTITY, TaskPool
from bots.support.files import replacing

VERSION = 3
"""Version of the file's schema; files with a greater one are refused. Version 1 identified tasks by their ids alone: it
loads if these are equal, with a warning that nothing else about the tasks could be checked. Version 2 had no belief but
the Beta update."""
KEY = b"bots.snapshot"
CONTENT_KEY = b"bots.content"
"""The tasks' digests (`TaskPool.content`), to say which task of another pool is another one."""


class SnapshotError(ValueError):
    """A snapshot that cannot be loaded, and why."""


class Snapshot(NamedTuple):
    """A file's contents. pool: the tasks it was saved with. state: everything but the columns."""

    pool: TaskPool
    prior: Prior
    state: dict[str, Any]
    table: pa.Table

    def restore(self, beliefs: Beliefs | BeliefModel) -> None:
        """Write columns and state into beliefs that were made for `pool`."""
        for name, column in beliefs.columns().items():
            if name in self.table.column_names or name not in beliefs.may_lack:
                column[:] = self.table[name].to_numpy()
        beliefs.load_state_dict(self.state if isinstance(beliefs, Beliefs) else self.state["belief"])


def write_snapshot(
    path: str | Path, pool: TaskPool, beliefs: Beliefs | BeliefModel, state: dict[str, Any]
) -> None:
    """Write beliefs and state atomically: to a temporary file, flushed, then renamed.

    The columns keep their names, so that any Arrow reader can query them; the state is JSON in the schema's
    metadata.
    """
    target = Path(path)
    own = beliefs.state_dict() if isinstance(beliefs, Beliefs) else {"belief": beliefs.state_dict()}
    header = {
        "version": VERSION,
        "tasks": len(pool),
        "fingerprint": pool.fingerprint,
        "prior": _prior_spec(beliefs.prior),
        "state": {**state, **own},
    }
    table = beliefs.table()
    for name, column in beliefs.columns().items():
        if name not in table.column_names:
            table = table.append_column(name, as_arrow(column))
    if _by_task(beliefs.prior):
        table = table.append_column("prior_alpha", pa.array(beliefs.prior.task_alpha))
        table = table.append_column("prior_beta", pa.array(beliefs.prior.task_beta))
    content = base64.b64encode(pool.content.astype("<u8").tobytes())
    table = table.replace_schema_metadata({KEY: json.dumps(_pack(header)).encode(), CONTENT_KEY: content})
    with (
        replacing(target) as partial,
        open(partial, "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)


def read_snapshot(path: str | Path, pool: TaskPool) -> Snapshot:
    """Read a snapshot for this pool, which may have gained rows at the end.

    Raises SnapshotError for a file that is missing, truncated, not a snapshot, newer, or of another pool.
    """
    if not Path(path).is_file():
        raise SnapshotError(f"there is no snapshot {path}")
    try:
        with pa.OSFile(str(path), "rb") as file:
            table = pa.ipc.open_file(file).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise SnapshotError(f"{path} is truncated or not a snapshot: {error}") from error
    if KEY not in (table.schema.metadata or {}):
        raise SnapshotError(f"{path} is an Arrow file, but not a snapshot of beliefs")
    header = _unpack(json.loads(table.schema.metadata[KEY]))
    if missing := {"version", "tasks", "fingerprint", "prior", "state"} - header.keys():
        raise SnapshotError(f"{path} is damaged: its header lacks {', '.join(sorted(missing))}")
    if header["version"] > VERSION:
        raise SnapshotError(
            f"{path} has schema version {header['version']}, newer than {VERSION}, the newest this program reads; "
            "update the program"
        )
    tasks = header["tasks"]
    if table.num_rows != tasks:
        raise SnapshotError(f"{path} is damaged: it has {table.num_rows} rows and says {tasks}")
    if not pool.begins_with(header["fingerprint"], tasks):
        packed = table.schema.metadata.get(CONTENT_KEY)
        content = None if packed is None else np.frombuffer(base64.b64decode(packed), "<u8")
        raise SnapshotError(
            f"{path} belongs to another pool: its {tasks} tasks are not the first of this pool's {len(pool)}: "
            f"{first_difference(pool, table['id'], content)}"
        )
    if header["version"] == 1:
        warnings.warn(
            f"{path} is of an earlier version, which noted only the ids of its tasks: whether their prompts, answers "
            "and graders are the same cannot be checked",
            stacklevel=3,
        )
    small = pool if tasks == len(pool) else pool.head(tasks)
    return Snapshot(small, Prior(small, _prior_from(header["prior"], table)), header["state"], table)


def check_extends(pool: TaskPool, old: TaskPool) -> None:
    """Raise ValueError unless the pool has all tasks of the old one, in the same order, before any others."""
    if not pool.begins_with(old.fingerprint, len(old)):
        raise ValueError(
            f"the new pool of {len(pool)} tasks does not begin with the {len(old)} tasks of the old one"
            f": {first_difference(pool, old.table['id'], old.content)}"
        )


def first_difference(pool: TaskPool, ids: pa.ChunkedArray, content: npt.NDArray[np.uint64] | None) -> str:
    """In words, where a pool first departs from one with these ids and contents (None: unknown)."""
    rows = min(len(pool), len(ids))
    other = ~pc.equal(pool.table["id"].slice(0, rows), ids.slice(0, rows)).to_numpy()
    if other.any():
        row = int(np.argmax(other))
        return f"row {row} is task {pool.ids([row])[0]!r}, and was {ids[row].as_py()!r}"
    if content is not None and (other := pool.content[:rows] != content[:rows]).any():
        row = int(np.argmax(other))
        return (
            f"{int(other.sum())} tasks of the same id have another {', '.join(IDENTITY[:-1])} or {IDENTITY[-1]}, the "
            f"first of them {pool.ids([row])[0]!r} in row {row}"
        )
    if len(pool) < len(ids):
        return f"it lacks the last {len(ids) - len(pool)}"
    return "their contents are others"


def _by_task(prior: Prior) -> bool:
    return prior.kind == 2 and not isinstance(prior.spec, AnchorPrior)


def _prior_spec(prior: Prior) -> Any:
    if _by_task(prior):
        return {"kind": "task"}
    if isinstance(prior.spec, AnchorPrior):
        return {"kind": "anchors", **vars(prior.spec)}
    return {"kind": "pairs", "pairs": prior.describe()}


def _prior_from(spec: Any, table: pa.Table) -> PriorSpec:
    if spec["kind"] == "task":
        return table["prior_alpha"].to_numpy(), table["prior_beta"].to_numpy()
    if spec["kind"] == "anchors":
        return AnchorPrior(spec["strength"], spec["capability"])
    pairs: PriorSpec = spec["pairs"]
    return pairs


def _pack(value: Any) -> Any:
    """JSON values for a tree of dicts, lists, numbers, strings and NumPy arrays; exact."""
    if isinstance(value, dict):
        return {str(key): _pack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(item) for item in value]
    if isinstance(value, np.ndarray):
        raw = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"__array__": raw, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        if "__array__" in value:
            flat = np.frombuffer(base64.b64decode(value["__array__"]), value["dtype"])
            return flat.reshape(value["shape"]).copy()
        return {key: _unpack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    return value
