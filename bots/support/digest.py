"""A digest of what an Arrow table holds, the same however the table is chunked, sliced or encoded."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BLOCK_ROWS = 65_536
"""Rows that are taken together: few enough for 32-bit offsets, and cut at the same places in every table."""


class Digest(Protocol):
    """One of `hashlib`."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes."""


def add_content(digest: Digest, table: pa.Table) -> None:
    """Add the names and the values of all columns to a digest."""
    digest.update("\0".join(table.column_names).encode())
    for start in range(0, table.num_rows, BLOCK_ROWS):
        for column in table.slice(start, BLOCK_ROWS).columns:
            _add(digest, pa.concat_arrays(column.chunks))


def _add(digest: Digest, values: pa.Array) -> None:
    kind = values.type
    if pa.types.is_dictionary(kind):
        _add(digest, values.dictionary_decode())
        return
    digest.update(values.is_valid().to_numpy(zero_copy_only=False).tobytes())
    if pa.types.is_struct(kind):
        for field in values.flatten():
            _add(digest, field)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _add(digest, values.value_lengths())
        _add(digest, values.flatten())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        # Lengths before bytes: "a", "bc" must not look like "ab", "c".
        texts = values.cast(pa.string()).fill_null("")
        digest.update(text_lengths(texts))
        digest.update(text_bytes(texts))
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        digest.update(values.fill_null(0).to_numpy().tobytes())
    else:
        digest.update(repr(values.to_pylist()).encode())


def text_lengths(texts: pa.StringArray) -> bytes:
    """The length of each text in UTF-8, int32, as bytes."""
    lengths: bytes = pc.binary_length(texts).to_numpy(zero_copy_only=False).tobytes()
    return lengths


def text_bytes(texts: pa.StringArray) -> memoryview:
    """The concatenated UTF-8 bytes of texts without nulls, without making Python strings."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)
    first, last = bounds[texts.offset], bounds[texts.offset + len(texts)]
    return memoryview(data)[first:last] if data is not None else memoryview(b"")
