"""What the state-space belief assumes before it has seen anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from bots.belief.state_space.embeddings import COMPONENTS


@dataclass(frozen=True)
class Options:
    """Arguments of the belief; variances are in squared logits. docs/beliefs.md says what each stands for."""

    columns: Sequence[str] | None = None
    """Columns whose combinations are cells, within domains: text, booleans, integers (ordered). None: level, where the
    pool has it."""
    features: Sequence[str] | None = None
    """Numeric columns and embeddings (lists of floats) whose coefficients are learned, beside the reference pass rates
    where the pool has them. None: the embeddings of a column `embedding`, where the pool has it."""
    components: int = COMPONENTS
    """Principal components of each embedding that are features, at most."""
    anchors: bool = True
    """Whether reference pass rates are features."""
    spread: float = 9.0
    """Prior variance of a cell's logit, for the prior pseudo-counts (1, 1)."""
    residual: float = 1.0
    """Prior variance of a task's logit within its stratum."""
    reach: float | None = None
    """Levels over which neighbouring cells' correlation falls by 1/e; None: a quarter of the levels, at least 2."""
    noise: float = 0.002
    """Variance that a cell's logit gains in a step, whatever is trained."""
    signal_noise: float = 0.04
    """Variance that it gains where the whole batch is of the cell and of full signal."""
    widening: float = 0.001
    """Share of what is known of a task's residual that is lost in a step."""
    temper: float | None = None
    """Factor of the shared variance in Thompson draws: 1 draws from the belief itself. None: each cell's draw has the
    variance that one group of the cell would remove, see `Picker`."""
    draws: int = 8
    """Independent draws that divide a batch between them."""
    crowding: float = 0.0
    """c: with m tasks of its cell already in the batch a further one counts s + (1-s)/(1 + c·m), s the `own_share`; 0:
    as much as the first. With `selector=greedy` it has no effect."""
    own_share: float = 0.0
    """s: the share of its value that a task keeps, however many others of its cell are in the batch."""
    gain: bool = False
    """Select for the expected gain of the whole pool, not for nearness to p* alone: a task's signal times how far,
    by the learned drift, it carries."""

    def __post_init__(self) -> None:
        for name in ("spread", "residual", "noise", "signal_noise"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 < value < 1e6):
                raise ValueError(f"belief_options.{name} is {value!r}; it must be a number > 0")
        if not (_is_number(self.crowding) and 0 <= self.crowding <= 100):
            raise ValueError(
                f"belief_options.crowding is {self.crowding!r}; it must be a number from 0 to 100"
            )
        for name in ("widening", "temper", "own_share"):
            value = getattr(self, name)
            if name == "temper" and value is None:
                continue
            if not (_is_number(value) and 0 <= value <= 1):
                raise ValueError(f"belief_options.{name} is {value!r}; it must be a number in [0, 1]")
        if self.reach is not None and not (_is_number(self.reach) and 0 < self.reach < 1e6):
            raise ValueError(f"belief_options.reach is {self.reach!r}; it must be a number > 0, or None")
        for name, most in (("draws", 1024), ("components", 64)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(
                    f"belief_options.{name} is {value!r}; it must be a whole number from 1 to {most}"
                )
        for name in ("anchors", "gain"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(  # noqa: TRY004
                    f"belief_options.{name} is {getattr(self, name)!r}; it must be true or false"
                )
        for name in ("columns", "features"):
            value = getattr(self, name)
            listed = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
            if value is not None and not listed:
                raise ValueError(f"belief_options.{name} is {value!r}; it must be a list of column names")
        if any(len(set(names or ())) < len(names or ()) for names in (self.columns, self.features)):
            raise ValueError("belief_options names a column twice")

    @classmethod
    def of(cls, given: dict[str, Any]) -> Options:
        """Options by keyword. Raises ValueError for one that there is not."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(given) - set(known)):
            raise ValueError(
                f"belief 'state_space' has no option {', '.join(unknown)}; it has {', '.join(known)}"
            )
        return cls(**given)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
