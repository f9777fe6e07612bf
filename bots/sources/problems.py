"""What is wrong with the rows of one piece of a source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bots.sources.base import Piece


@dataclass
class Problems:
    """The first thing found wrong with each row."""

    rows: int
    why: dict[int, str] = field(default_factory=dict)

    def add(self, bad: npt.NDArray[np.bool_], why: Callable[[int], str] | str) -> None:
        """Note why rows are bad. bad: bool (rows,)."""
        for row in np.flatnonzero(bad):
            self.add_one(int(row), why if isinstance(why, str) else why(int(row)))

    def add_one(self, row: int, why: str) -> None:
        """Note why one row is bad; what was found first stays."""
        self.why.setdefault(row, why)

    def column(self, piece: Piece) -> pa.Array:
        """string (rows,): each bad row's place and why it is bad, null for a good one."""
        if not self.why:
            return pa.nulls(self.rows, pa.string())
        said = [
            f"{piece.place(row)}: {self.why[row]}" if row in self.why else None for row in range(self.rows)
        ]
        return pa.array(said, pa.string())
