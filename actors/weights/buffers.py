"""Host memory for received tensors, used again from version to version."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass
class _Slot:
    """A piece of memory. user: the array that was last given out; dead when no tensor refers to it any more."""

    memory: np.ndarray
    user: weakref.ref[Any]


class Buffers:
    """Uninitialized tensors on the CPU, in memory that no tensor uses any more if there is some of the same size.

    The first touch of fresh memory takes longer than copying into it.
    """

    def __init__(self) -> None:
        self._slots: dict[int, list[_Slot]] = {}

    @property
    def bytes(self) -> int:
        """Size of all memory that is held."""
        return sum(size * len(slots) for size, slots in self._slots.items())

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A tensor whose memory is taken until it and all its views are gone."""
        size = math.prod(shape) * dtype.itemsize
        if not size:
            return torch.empty(shape, dtype=dtype)
        slots = self._slots.setdefault(size, [])
        slot = next((slot for slot in slots if slot.user() is None), None)
        memory = np.empty(size, np.uint8) if slot is None else slot.memory
        view = memory[:]
        if slot is None:
            slots.append(_Slot(memory, weakref.ref(view)))
        else:
            slot.user = weakref.ref(view)
        return torch.from_numpy(view).view(dtype).view(*shape)
