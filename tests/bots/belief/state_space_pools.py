"""Pools and rewards of the state-space belief's tests."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from bots import BOTS, TaskPool


def make_pool(tasks=600, domains=3, levels=4, seed=0, **columns):
    rng = np.random.default_rng(seed)
    table = {
        "domain": [f"d{d}" for d in rng.integers(0, domains, tasks)],
        "level": rng.integers(1, levels + 1, tasks),
        **columns,
    }
    return TaskPool.from_arrow(
        pa.table(table), **{name: name for name in ("weak", "strong") if name in columns}
    )


def state_space(pool, **settings):
    return BOTS(pool, rollouts=8, belief="state_space", **settings)


def answers(rng, rates, n=8):
    return (rng.random((len(rates), n)) < np.asarray(rates)[:, None]).astype(float)
