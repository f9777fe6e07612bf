"""Prompts as Arrow lists of messages."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bots.sources.base import MESSAGES
from bots.sources.problems import Problems

ROLES = ("system", "user", "assistant", "tool")


def messages_of(prompt: pa.Array, problems: Problems) -> pa.ListArray:
    """list<{role, content}> (rows,) of a column of text (one user message) or of messages."""
    rows = len(prompt)
    missing = prompt.is_null().to_numpy(zero_copy_only=False)
    problems.add(missing, "the prompt is null")
    if not (pa.types.is_list(prompt.type) or pa.types.is_large_list(prompt.type)):
        contents = prompt.cast(pa.string()).fill_null("")
        roles = pa.repeat("user", rows)
        ends = np.arange(rows + 1, dtype=np.int32)
    else:
        items = prompt.flatten()
        contents = items.field("content").cast(pa.string())
        roles = items.field("role").cast(pa.string())
        ends = np.zeros(rows + 1, np.int32)
        np.cumsum(prompt.value_lengths().fill_null(0).to_numpy(), out=ends[1:])
        owner = np.repeat(np.arange(rows), np.diff(ends))
        problems.add(_any(owner, contents.is_null(), rows), "a message of the prompt has no content")
        unknown = pc.invert(pc.is_in(roles, value_set=pa.array(ROLES)))
        problems.add(_any(owner, unknown, rows), f"a message's role is none of {', '.join(ROLES)}")
    has_text = np.zeros(rows, bool)
    filled = pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(contents)), 0).fill_null(False)
    has_text[np.repeat(np.arange(rows), np.diff(ends))[filled.to_numpy(zero_copy_only=False)]] = True
    problems.add(~has_text & ~missing, "the prompt is empty")
    return _list_array(ends, roles, contents)


def with_system(prompt: pa.ListArray, system: str, problems: Problems) -> pa.ListArray:
    """The prompts with one more message in front of each."""
    ends = prompt.offsets.to_numpy().astype(np.int32)
    items = prompt.values
    roles, contents = items.field("role"), items.field("content")
    owner = np.repeat(np.arange(len(prompt)), np.diff(ends))
    problems.add(
        _any(owner, pc.equal(roles, "system"), len(prompt)),
        "the prompt has a system message of its own; leave `system` out for this source",
    )
    new_ends = ends + np.arange(len(ends), dtype=np.int32)
    order = np.full(new_ends[-1], len(items), np.int64)
    is_old = np.ones(new_ends[-1], bool)
    is_old[new_ends[:-1]] = False
    order[is_old] = np.arange(len(items))
    return _list_array(
        new_ends,
        pa.concat_arrays([roles, pa.array(["system"])]).take(pa.array(order)),
        pa.concat_arrays([contents, pa.array([system])]).take(pa.array(order)),
    )


def _list_array(ends: npt.NDArray[np.int32], roles: pa.Array, contents: pa.Array) -> pa.ListArray:
    items = pa.StructArray.from_arrays([roles, contents], fields=list(MESSAGES.value_type))
    return pa.ListArray.from_arrays(pa.array(ends), items, type=MESSAGES)


def _any(owner: npt.NDArray[np.int64], bad: pa.Array, rows: int) -> npt.NDArray[np.bool_]:
    """bool (rows,): whether any of a row's messages is bad."""
    found = np.zeros(rows, bool)
    found[owner[bad.fill_null(True).to_numpy(zero_copy_only=False)]] = True
    return found
