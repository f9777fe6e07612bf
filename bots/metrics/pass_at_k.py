"""pass@k: the chance that at least one of k completions of a task is right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bots.support.checks import whole


def pass_at_k(right: npt.ArrayLike, samples: npt.ArrayLike, k: int) -> float:
    """Unbiased estimate of pass@k, mean over tasks: 1 - C(n - c, k) / C(n, k) (arXiv 2107.03374, equation 1).

    right: c, int (T,), right completions of each task. samples: n, int (T,) or one number, its completions.
    Raises ValueError for no tasks, k below 1, n below k, c outside 0 to n, and what is not a whole number.
    """
    k = whole("k", k, 1)
    c, n = np.broadcast_arrays(np.atleast_1d(_counts("right", right)), _counts("samples", samples))
    if not len(c):
        raise ValueError("no tasks: pass@k of an empty set is undefined")
    if n.min() < k:
        raise ValueError(f"pass@{k} needs k completions of every task; one has {n.min()}")
    if (outside := (c < 0) | (c > n)).any():
        raise ValueError(f"a task has {c[outside][0]} right completions of {n[outside][0]}")
    # The product over the k draws without replacement: no factorials, so that nothing overflows.
    draws = np.arange(k)[:, None]
    wrong = np.prod(np.maximum(n - c - draws, 0) / (n - draws), axis=0)
    return float(np.mean(1 - wrong))


def _counts(name: str, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    given = np.asarray(values)
    counts = given.astype(np.int64)
    if (broken := counts != given).any():
        raise ValueError(f"{name} has {given[broken].flat[0]}; it must be whole numbers")
    return counts
