"""Tasks that somebody else selected count as those that BOTS selected itself."""

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, TaskPool


def test_told_selections_count_as_own_ones():
    rng = np.random.default_rng(0)
    weak = rng.uniform(0, 0.5, 40).astype(np.float32)
    pool = TaskPool.from_arrow(pa.table({"weak": weak, "strong": weak + 0.4}), "weak", "strong")
    own, told, untold = (BOTS(pool, rollouts=4, seed=seed) for seed in (0, 1, 2))
    for step in range(1, 6):
        rows = own.select(8, step=step)
        told.mark_selected(rows, step)
        told.mark_selected(rows, step)  # twice is once
        early, late = rows[:5], rows[5:]
        for part in (early, late):
            rewards = (rng.random((len(part), 4)) < 0.5).astype(float)
            for bots in (own, told, untold):
                bots.observe(part, rewards, step=step)
    assert (own.alpha == told.alpha).all()
    assert (own.beta == told.beta).all()
    assert (own.alpha != untold.alpha).any(), "awaited tasks get no implicit evidence"


def test_bad_selections_are_refused():
    bots = BOTS(TaskPool.from_arrow(pa.table({"id": ["a", "b"]})), evidence=None, history=2)
    with pytest.raises(ValueError, match="row"):
        bots.mark_selected([2], 1)
    for step in (1, 2, 3):
        bots.observe([0], np.ones((1, 2)), step=step)
    with pytest.raises(ValueError, match="oldest step still kept"):
        bots.mark_selected([0], 1)
