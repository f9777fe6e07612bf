"""Stable names for tasks that come without one: a hash of what is asked and what is right."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_DIGEST = 16


def content_ids(prompt: pa.ListArray, answer: pa.StringArray) -> pa.StringArray:
    """string (rows,): 32 hexadecimal digits made from the messages' contents and the answer.

    The same on every machine, whatever the file, its order and the other rows. Two rows with the same content
    get the same id. Works on the Arrow buffers; no Python object per row outlives the row. A null counts
    as an empty text.
    """
    contents = prompt.flatten().field("content").fill_null("")
    ends = [0, *np.cumsum(prompt.value_lengths().fill_null(0).to_numpy()).tolist()]
    content_bounds, content_bytes = _buffers(contents)
    answer_bounds, answer_bytes = _buffers(answer.fill_null(""))
    # The lengths are hashed as well as the bytes: "a" + "bc" is another task than "ab" + "c".
    lengths = memoryview(np.diff(content_bounds).astype("<i8").tobytes())
    digits = bytearray(2 * _DIGEST * len(prompt))
    content_at, answer_at = content_bounds.tolist(), answer_bounds.tolist()
    for row in range(len(prompt)):
        first, last = ends[row], ends[row + 1]
        digest = hashlib.blake2b(lengths[8 * first : 8 * last], digest_size=_DIGEST)
        digest.update(content_bytes[content_at[first] : content_at[last]])
        digest.update(answer_bytes[answer_at[row] : answer_at[row + 1]])
        digits[2 * _DIGEST * row : 2 * _DIGEST * (row + 1)] = digest.hexdigest().encode()
    offsets = np.arange(len(prompt) + 1, dtype=np.int32) * (2 * _DIGEST)
    return pa.StringArray.from_buffers(len(prompt), pa.py_buffer(offsets), pa.py_buffer(bytes(digits)))


def _buffers(texts: pa.StringArray) -> tuple[npt.NDArray[np.int32], memoryview]:
    """Bounds (rows + 1) and the UTF-8 bytes that they point into."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return bounds, memoryview(data) if data is not None else memoryview(b"")
