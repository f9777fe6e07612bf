"""A data loader that selects: for trainers that iterate over one, and save its `state_dict` with their checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bots.adapters.curriculum import Curriculum
from bots.pool import PoolError


class SelectingLoader:
    """Batches of selected rows, drawn only when they are asked for; nothing is fetched ahead.

    dataset: of the trainer, row by row the pool of the curriculum. batch: rows at a time. collate: of the trainer.
    length: batches in an epoch; None: as many as the data set has.
    `drawn` is what the latest batch consists of, as pairs of wave and row.
    """

    def __init__(
        self,
        dataset: Sequence[Any],
        curriculum: Curriculum,
        batch: int,
        collate: Callable[[list[Any]], Any],
        length: int | None = None,
    ) -> None:
        tasks = len(curriculum.bots.pool)
        if len(dataset) != tasks:
            raise PoolError(
                f"the trainer's data set has {len(dataset)} rows, and the pool {tasks} tasks; trainers leave out "
                "prompts that are too long: make the pool from what is left"
            )
        if not 1 <= batch <= tasks:
            raise ValueError(f"a batch of {batch} tasks cannot be selected from {tasks}")
        self.dataset, self.curriculum, self.batch_size, self.collate_fn = dataset, curriculum, batch, collate
        self.drawn: list[tuple[int, int]] = []
        self._length = tasks // batch if length is None else length
        self._at = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        # A resumed epoch goes on where it stopped.
        while self._at < self._length:
            self._at += 1
            self.drawn = self.curriculum.take(self.batch_size)
            yield self.collate_fn([self.dataset[row] for _, row in self.drawn])
        self._at = 0

    def state_dict(self) -> dict[str, Any]:
        """The posterior, the waves in flight and the place in the epoch, as one JSON value."""
        return {"bots": self.curriculum.state_dict(), "at": self._at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave. Raises ValueError for a checkpoint that another loader wrote."""
        if "bots" not in state:
            raise ValueError(
                "the checkpoint's data loader is not of BOTS: it holds no posterior. Resume without the "
                "loader's state, or without the adapter"
            )
        self.curriculum.load_state_dict(state["bots"])
        self._at = state["at"]
