"""A digest of what an Arrow table holds, the same however the table is chunked, sliced or encoded."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

BLOCK_ROWS = 65_536
"""Rows that are taken together: few enough for 32-bit offsets, and cut at the same places in every table."""


class Digest(Protocol):
    """One of `hashlib`."""

    def update(self, data: bytes, /) -> None:
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
        texts = [(text or "").encode() for text in values.to_pylist()]
        digest.update(b",".join(b"%d" % len(text) for text in texts))
        digest.update(b"".join(texts))
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        digest.update(values.fill_null(0).to_numpy().tobytes())
    else:
        digest.update(repr(values.to_pylist()).encode())
