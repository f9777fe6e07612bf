"""A pool with its prompts as token ids: two flat arrays, cheap to send to other processes at any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bots.pool import TaskPool

Prompt = npt.NDArray[np.int32]


class Prompts:
    """Token ids of many prompts in one array; `prompts[row]` is a view of one, int32 (P,)."""

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        parts = list(prompts)
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        self._tokens = np.concatenate(parts).astype(np.int32, copy=False) if parts else np.empty(0, np.int32)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: int) -> Prompt:
        start = self._ends[row - 1] if row else 0
        return self._tokens[start : self._ends[row]]

    def __iter__(self) -> Iterator[Prompt]:
        return (self[row] for row in range(len(self)))


@dataclass(frozen=True)
class EncodedPool:
    """A pool with the token ids of its prompts, in row order."""

    pool: TaskPool
    prompts: Prompts
