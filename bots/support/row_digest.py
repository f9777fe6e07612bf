"""A 64-bit digest of every row of a table, made in one pass over Arrow's buffers."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bots.support.compile import compiled

Digests = npt.NDArray[np.uint64]

_PRIME_1 = np.uint64(0x9E3779B185EBCA87)
_PRIME_2 = np.uint64(0xC2B2AE3D27D4EB4F)
_NULL = np.uint64(0x27D4EB2F165667C5)
_BLOCK_ROWS = 65_536
"""Rows that are taken together: few enough for the 32-bit offsets of a text column."""


def row_digests(table: pa.Table) -> Digests:
    """uint64 (rows,): what each row holds, whatever the table's chunks, slices and encodings.

    Names of columns count and their order does not. Meant against mistakes, not against people who look for two rows
    of one digest.
    """
    digests = np.zeros(table.num_rows, np.uint64)
    for name in sorted(table.column_names):
        seed = np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))
        for start in range(0, table.num_rows, _BLOCK_ROWS):
            block = table[name].slice(start, _BLOCK_ROWS)
            column = block.combine_chunks() if block.num_chunks != 1 else block.chunk(0)
            digests[start : start + len(block)] += _mixed(_of(column), seed)
    return digests


def _of(values: pa.Array) -> Digests:
    """uint64 (rows,) of one array."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _of(values.dictionary_decode())
    missing = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_null(kind):
        digests = np.zeros(len(values), np.uint64)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        digests = _of_texts(values.cast(pa.string()))
    elif pa.types.is_struct(kind):
        digests = np.zeros(len(values), np.uint64)
        for number, field in enumerate(values.flatten()):
            digests = _mixed(digests + _of(field), np.uint64(number + 1))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = values.value_lengths().fill_null(0).to_numpy()
        digests = _of_lists(_of(values.flatten()), np.cumsum(lengths) - lengths, lengths)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        # As float64, so that a column of whole numbers is the same however wide it is.
        numbers = values.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
        digests = _mixed(numbers.astype(np.float64).view(np.uint64), _PRIME_1)
    else:
        texts = [json.dumps(value, default=str, sort_keys=True) for value in values.to_pylist()]
        digests = _of_texts(pa.array(texts, pa.string()))
    digests[missing] = _NULL
    return digests


def _of_texts(texts: pa.StringArray) -> Digests:
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    raw = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    out = np.empty(len(texts), np.uint64)
    _hash_bytes(raw, bounds, out)
    return out


def _mixed(values: Digests, seed: np.uint64) -> Digests:
    """Each value with a seed, well stirred (the finalizer of xxHash 64)."""
    with np.errstate(over="ignore"):
        values = (values ^ seed) * _PRIME_1
        values ^= values >> np.uint64(29)
        values *= _PRIME_2
        values ^= values >> np.uint64(32)
    return values


@compiled
def _hash_bytes(raw: npt.NDArray[np.uint8], bounds: npt.NDArray[np.int32], out: Digests) -> None:
    """A digest of each of the byte strings raw[bounds[i] : bounds[i + 1]], eight bytes at a time."""
    for row in range(len(out)):
        at, end = np.int64(bounds[row]), np.int64(bounds[row + 1])
        digest = np.uint64(end - at) * np.uint64(0x9E3779B185EBCA87)
        while at < end:
            word = np.uint64(0)
            width = min(np.int64(8), end - at)
            for i in range(width):
                word |= np.uint64(raw[at + i]) << np.uint64(8 * i)
            digest = (digest ^ word) * np.uint64(0xC2B2AE3D27D4EB4F)
            digest ^= digest >> np.uint64(29)
            at += width
        digest *= np.uint64(0x9E3779B185EBCA87)
        out[row] = digest ^ (digest >> np.uint64(32))


@compiled
def _hash_lists(
    items: Digests, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], out: Digests
) -> None:
    """A digest of each list of digests items[starts[i] : starts[i] + lengths[i]]."""
    for row in range(len(out)):
        digest = np.uint64(lengths[row]) * np.uint64(0x9E3779B185EBCA87)
        for i in range(starts[row], starts[row] + lengths[row]):
            digest = (digest ^ items[i]) * np.uint64(0xC2B2AE3D27D4EB4F)
            digest ^= digest >> np.uint64(29)
        out[row] = digest ^ (digest >> np.uint64(32))


def _of_lists(items: Digests, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Digests:
    out = np.empty(len(starts), np.uint64)
    _hash_lists(items, starts.astype(np.int64), lengths.astype(np.int64), out)
    return out
