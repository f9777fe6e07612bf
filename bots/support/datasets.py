"""The Arrow table of a Hugging Face `Dataset`."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def table_of(
    dataset: Any, *, weak: str | None = None, strong: str | None = None, level: str | None = None
) -> pa.Table:
    """All rows and columns in the order of the data set. Memory-mapped, unless the data set was shuffled or filtered.

    weak, strong: columns that must be there. level: column to name `level`; one that had this name is dropped.
    Raises TypeError for what is not a `datasets.Dataset`, and LookupError for a column that is not there.
    """
    import datasets

    if isinstance(dataset, datasets.IterableDataset):
        raise TypeError(
            "an IterableDataset has no numbered rows, and a posterior keeps a belief about each of them; load the data "
            "set without streaming=True, or save it and load it with datasets.load_from_disk"
        )
    if isinstance(dataset, datasets.DatasetDict | datasets.IterableDatasetDict):
        raise TypeError(f"a DatasetDict is several data sets; take one: {', '.join(map(repr, dataset))}")
    if not isinstance(dataset, datasets.Dataset):
        raise TypeError(f"the data set is a {type(dataset).__name__}; it must be a datasets.Dataset")
    named = {"weak": weak, "strong": strong, "level": level}
    for meaning, name in named.items():
        if name is not None and name not in dataset.column_names:
            raise LookupError(
                f"the data set has no column {name!r} ({meaning}); it has {', '.join(dataset.column_names)}"
            )
    if len(dataset) == 0:
        return pa.table({name: pa.nulls(0) for name in dataset.column_names})
    table: pa.Table = dataset.with_format("arrow")[:]
    if level is not None and level != "level":
        kept = table.drop_columns(["level"]) if "level" in table.column_names else table
        table = kept.rename_columns(["level" if name == level else name for name in kept.column_names])
    return table
