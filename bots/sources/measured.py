"""What was measured of a source's tasks and lies in a file of its own: reference pass rates and embeddings."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bots.config.pool import SourceSettings
from bots.pool import EMBEDDING, is_embedding
from bots.sources.base import SourceError


def with_anchors(table: pa.Table, settings: SourceSettings) -> pa.Table:
    """The table with weak and strong from the source's anchors file; null for a task that the file lacks."""
    if settings.anchors is None or settings.anchors == "shipped":
        return table
    measured, where = _joined(table, settings.anchors, "anchors", ["weak", "strong"])
    for name in ("weak", "strong"):
        rates = measured[name].combine_chunks().cast(pa.float32())
        table = table.set_column(table.column_names.index(name), name, rates.take(where))
    return table


def with_embeddings(table: pa.Table, settings: SourceSettings) -> pa.Table:
    """The table with the column `embedding`, lists of d floats (float32), null for a task that the file lacks.

    Raises SourceError where the file's column is anything but lists of floats, all of one length.
    """
    if settings.embeddings is None:
        return table
    measured, where = _joined(table, settings.embeddings, "embeddings", [EMBEDDING])
    column = measured[EMBEDDING].combine_chunks()
    if not is_embedding(column.type):
        raise SourceError(
            f"{settings.embeddings}: its column embedding is {column.type}, not lists of floats"
        )
    lengths = pc.unique(pc.list_value_length(column.drop_null())).to_pylist()
    if len(lengths) != 1 or lengths[0] == 0:
        found = ", ".join(str(length) for length in sorted(lengths)[:5]) or "none"
        raise SourceError(f"{settings.embeddings}: embeddings have one length above 0; those here: {found}")
    known = column.take(where)
    numbers = np.zeros((len(known), lengths[0]), np.float32)
    there = known.is_valid().to_numpy(zero_copy_only=False)
    numbers[there] = known.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, lengths[0])
    values = pa.FixedSizeListArray.from_arrays(numbers.ravel(), lengths[0], mask=pa.array(~there))
    return table.append_column(EMBEDDING, values)


def _joined(table: pa.Table, path: str, what: str, columns: list[str]) -> tuple[pa.Table, pa.Int32Array]:
    """The file's table, and for each row of `table` the file's row with its id, null where it has none."""
    try:
        measured = pq.read_table(path, columns=["id", *columns])
    except FileNotFoundError as error:
        raise SourceError(f"no such {what} file: {path}") from error
    except (pa.ArrowException, OSError, KeyError) as error:
        raise SourceError(
            f"{path} is not a parquet file with columns {', '.join(['id', *columns])}: {error}"
        ) from error
    where: pa.ChunkedArray = pc.index_in(table["id"], value_set=measured["id"].combine_chunks())
    if where.null_count == len(where):
        raise SourceError(f"no id of {path} is one of the source's; the first is {table['id'][0]}")
    return measured, where.combine_chunks()
