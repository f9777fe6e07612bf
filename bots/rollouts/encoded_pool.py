"""A pool with its prompts as token ids: two flat arrays, cheap to send to other processes at any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from bots.pool import TaskPool

TokenIds = npt.NDArray[np.int32]
PIECE = 4096
"""Number of prompts held as objects at a time."""


class Prompts:
    """Token ids of many prompts in one array; `prompts[row]` is a view of one prompt, int32 (P,)."""

    def __init__(self, prompts: Iterable[TokenIds]) -> None:
        flat, lengths = [np.empty(0, np.int32)], []
        stream = iter(prompts)
        # In pieces: a million array objects would take more memory than the tokens.
        while piece := list(islice(stream, PIECE)):
            flat.append(np.concatenate(piece).astype(np.int32, copy=False))
            lengths.append(np.array([len(part) for part in piece], np.int64))
        self._tokens = np.concatenate(flat)
        self._ends = np.cumsum(np.concatenate(lengths)) if lengths else np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: int) -> TokenIds:
        start = self._ends[row - 1] if row else 0
        return self._tokens[start : self._ends[row]]

    def __iter__(self) -> Iterator[TokenIds]:
        return (self[row] for row in range(len(self)))


@dataclass(frozen=True)
class EncodedPool:
    """A pool with the token ids of its prompts, in row order.

    stop_ids: tokens that end a completion, in addition to the engine's own.
    """

    pool: TaskPool
    prompts: Prompts
    stop_ids: tuple[int, ...] = ()
