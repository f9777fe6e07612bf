"""The Arrow table of a Hugging Face `Dataset`."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def table_of(dataset: Any) -> pa.Table:
    """All rows and columns in the order of the data set. Memory-mapped, unless the data set was shuffled or filtered.

    Raises TypeError for what is not a `datasets.Dataset`.
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
    if len(dataset) == 0:
        return pa.table({name: pa.nulls(0) for name in dataset.column_names})
    table: pa.Table = dataset.with_format("arrow")[:]
    return table
