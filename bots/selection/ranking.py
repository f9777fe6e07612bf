"""Which rows may be selected, and the best of them by score with ties at random."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.belief.base import Belief
from bots.selection.base import SelectionRequest
from bots.support.arrays import Float64, Rows
from bots.support.checks import whole


def free_rows(
    beliefs: Belief,
    request: SelectionRequest,
    rng: np.random.Generator | None = None,
    candidates: int | None = None,
) -> Rows:
    """Rows that may be selected, rising: int64 (R,), R ≥ request.batch.

    candidates: only so many times the batch of them, drawn uniformly with `rng`; None: all.
    """
    allowed = beliefs.blocked == 0
    if request.domain >= 0:
        allowed &= beliefs.pool.domain_codes == request.domain
    rows: Rows = np.flatnonzero(allowed)
    if candidates is None or rng is None or candidates * request.batch >= len(rows):
        return rows
    drawn = rng.choice(len(rows), candidates * request.batch, replace=False, shuffle=False)
    sampled: Rows = rows[np.sort(drawn)]
    return sampled


def best(rows: Rows, scores: Float64, batch: int, rng: np.random.Generator) -> Rows:
    """The `batch` rows of greatest score, best first: int64 (batch,).

    rows, scores: (R,), R ≥ batch. NaN is worse than every number. Among equal scores rows are drawn uniformly.
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    if batch < len(rows):
        last = np.partition(scores, len(rows) - batch)[len(rows) - batch]
        above, tied = np.flatnonzero(scores > last), np.flatnonzero(scores == last)
        kept = rng.choice(tied, batch - len(above), replace=False, shuffle=False)
        chosen = np.concatenate([above, kept])
    else:
        chosen = np.arange(len(rows))
    order = np.lexsort((rows[chosen], -scores[chosen]))
    ordered: Rows = rows[chosen[order]]
    return ordered


def gumbel(size: int, rng: np.random.Generator) -> Float64:
    """Gumbel noise (size,). The k greatest of logits plus noise are k draws without replacement from their softmax
    (Kool et al. 2019, arXiv 1903.06059)."""
    noise: npt.NDArray[np.float64] = rng.gumbel(size=size)
    return noise


def checked_candidates(candidates: int | None) -> int | None:
    """The option `candidates` of a selector. Raises ValueError for anything but None or a whole number ≥ 1."""
    return None if candidates is None else whole("candidates", candidates, 1)


def positive(name: str, value: float) -> float:
    """The value as a float. Raises ValueError for anything but a finite number > 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
        raise ValueError(f"{name} is {value!r}; it must be a finite number > 0")
    return float(value)
