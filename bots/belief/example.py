"""Example beliefs for the conformance suites: from vague to very sharp, from hopeless to mastered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from bots.belief.columns import Beliefs
from bots.belief.prior import Prior
from bots.pool import TaskPool

COLUMNS = ("alpha", "beta", "last_step", "observations", "dispersion", "blocked")


def prior_beliefs(pool: TaskPool) -> Beliefs:
    """Beliefs as they are before the first observation: all Beta(1, 1)."""
    return Beliefs(pool, Prior(pool, (1.0, 1.0)))


def example_beliefs(pool: TaskPool, seed: int = 0) -> Beliefs:
    """Beliefs from vague to very sharp, about tasks from hopeless to mastered, some observed and some not."""
    rng = np.random.default_rng(seed)
    beliefs = prior_beliefs(pool)
    mass, mean = 10 ** rng.uniform(0, 4, len(pool)), rng.uniform(0.001, 0.999, len(pool))
    beliefs.alpha[:], beliefs.beta[:] = mass * mean, mass * (1 - mean)
    seen = rng.random(len(pool)) < 0.5
    beliefs.last_step[seen], beliefs.observations[seen] = rng.integers(0, 20, seen.sum()), 1
    beliefs.dispersion[seen] = rng.random(seen.sum())
    beliefs.bound_mass()
    return beliefs


@contextmanager
def unchanged(beliefs: Beliefs) -> Iterator[None]:
    """Raise AssertionError if the code in this context changes a column of the beliefs."""
    before = {name: getattr(beliefs, name).copy() for name in COLUMNS}
    yield
    for name, column in before.items():
        if not np.array_equal(getattr(beliefs, name), column, equal_nan=column.dtype.kind == "f"):
            raise AssertionError(f"the plug-in changed the beliefs' column {name!r}")
