"""Which cells are asked: uncertain where little is known, and none that would teach is left alone for long."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.beliefs import longest_waits, train_in_cells
from bots import BOTS, TaskPool
from bots.belief.state_space.picking import Picker
from tests.bots.belief.state_space_pools import answers, make_pool, state_space


def test_uncertain_where_it_knows_little():
    """Never asked cells keep their variance; what was seen of a task long ago counts for less."""
    pool, rng = make_pool(), np.random.default_rng(6)
    bots = state_space(pool)
    inside = np.flatnonzero(pool.domain_codes == 0)
    outside = np.flatnonzero(pool.domain_codes == 1)
    start = bots.predict_deviation(outside).mean()
    for step in range(30):
        bots.observe(
            inside[rng.choice(len(inside), 16, replace=False)], answers(rng, np.full(16, 0.5)), step=step
        )
    assert bots.predict_deviation(outside).mean() > 0.85 * start
    assert bots.predict_deviation(inside).mean() < 0.75 * start
    model = bots._parts.beliefs
    fresh, old = (model.tasks.residuals(inside[:50], model.last_step, clock).variance for clock in (30, 500))
    seen = model.last_step[inside[:50]] >= 0
    assert (old[seen] > fresh[seen]).all()
    assert (old <= 1).all()


def test_no_cell_that_would_teach_is_left_alone():
    """In a world of cells that open as others are mastered: the longest wait of an open cell, over three seeds."""
    settings = {"belief": "state_space"}
    runs = [train_in_cells(seed, (4, 6, 0.25), settings) for seed in range(3)]
    waits = np.concatenate([longest_waits(run) for run in runs])
    assert np.quantile(waits, 0.9) <= 6
    assert waits.max() <= 20


@pytest.mark.parametrize("seed", [3, 8])
def test_cells_that_known_ones_keep_from_being_asked_are_not_lost(seed):
    """All solved, all failed, all at ½ for long, so that few cells fill the batches; at last only the others teach."""
    rng, level = np.random.default_rng(seed), np.arange(300) % 6
    pool = TaskPool.from_arrow(pa.table({"level": level}))
    bots = BOTS(pool, rollouts=8, belief="state_space", seed=seed)
    last = np.full(6, -1)
    for step in range(300):
        rows = bots.select(16, step=step)
        last[level[rows]] = step
        rewards = answers(rng, np.full(16, 0.5)) if step >= 80 else np.full((16, 8), float(step < 40))
        bots.observe(rows, rewards, step=step)
    assert (np.abs(bots._parts.beliefs.states.cell_moments(np.arange(6))[0]) < 12).all(), (
        "no certainty by drift alone"
    )
    rarest = np.argsort(last)[:2]
    asked = 0
    for step in range(300, 320):
        rows = bots.select(16, step=step)
        rates = np.where(np.isin(level[rows], rarest), 0.5, 1.0)
        asked += np.isin(level[rows], rarest).sum()
        bots.observe(rows, answers(rng, rates), step=step)
    assert asked > 160, "the batches are of what teaches"


def test_where_nothing_is_learned_no_cell_is_left_alone_for_good():
    """Rates that stay near ½: a handful of cells would fill every batch at no loss, and yet all are asked."""
    rng, level = np.random.default_rng(0), np.arange(1200) % 12
    logit = 0.5 * rng.normal(size=12)[level] + rng.normal(size=1200)
    bots = BOTS(TaskPool.from_arrow(pa.table({"level": level})), rollouts=8, belief="state_space", seed=0)
    last, longest = np.zeros(12, int), np.zeros(12, int)
    for step in range(200):
        rows = bots.select(32, step=step)
        last[level[rows]] = step
        longest = np.maximum(longest, step - last)
        bots.observe(rows, answers(rng, 1 / (1 + np.exp(-logit[rows]))), step=step)
    assert longest.max() < 120
    assert np.median(longest) < 60


def test_exploration_follows_from_what_a_group_would_teach():
    """No constant: where nothing is left to learn draws agree, and where much is they differ."""
    pool, rng = make_pool(2000, domains=4, levels=4), np.random.default_rng(11)
    bots = state_space(pool)
    cell = pool.domain_codes * 4 + pool.table["level"].to_numpy() - 1
    well = np.flatnonzero(cell == 3)
    for step in range(60):
        rows = rng.choice(well, 24, replace=False)
        bots.observe(rows, answers(rng, np.full(24, 0.3)), step=step)
    model = bots._parts.beliefs
    strata = model.tasks.stratum
    picker = Picker(model, model.states, model.tasks, 60, -1, 8.0)
    share, left = picker._learnable()
    variance, cells = model.states.cell_variance(), model.book.cell
    assert share[cells[strata[well[0]]]] ** 2 < 0.15
    assert share[cells[strata[np.flatnonzero(cell == 14)[0]]]] ** 2 > 0.6
    assert np.allclose(share**2 * variance + left, variance), "what is not drawn is averaged over"
    more = Picker(model, model.states, model.tasks, 60, -1, 64.0)._learnable()[0]
    assert (more > share).all(), "larger groups teach more"
