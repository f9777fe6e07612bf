"""Pools and histories that break filters: one task a cell, rewards that never differ, countless values, a collapse."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, TaskPool
from bots.belief.state_space import codebook


def state_space(table, **settings):
    return BOTS(TaskPool.from_arrow(pa.table(table)), rollouts=8, belief="state_space", **settings)


def answers(rng, rates, n=8):
    return (rng.random((len(rates), n)) < np.asarray(rates)[:, None]).astype(float)


def test_cells_of_one_task_learn_from_their_neighbours_and_stay_apart():
    """Fifty text values, one task each, half of them solved: what is seen of a task is believed of it alone."""
    rng = np.random.default_rng(0)
    rates = np.where(np.arange(50) % 2, 0.9, 0.1)
    bots = state_space({"topic": [f"t{i}" for i in range(50)]}, belief_options={"columns": ["topic"]})
    unseen = bots.predict_deviation([49])[0]
    for step in range(12):
        bots.observe(np.arange(40), answers(rng, rates[:40]), step=step)
    assert np.abs(bots.predict_mean(np.arange(40)) - rates[:40]).max() < 0.2
    assert np.abs(bots.predict_mean(np.arange(40, 50)) - 0.5).max() < 0.2
    assert bots.predict_deviation([49])[0] > 0.7 * unseen
    assert len(np.unique(bots.select(50))) == 50


@pytest.mark.parametrize("reward", [0.0, 0.5, 1.0])
def test_a_run_of_rewards_all_alike_ends_in_a_belief_that_still_moves(reward):
    """150 steps of nothing else, fractional rewards too; then the opposite, or what lies aside, is followed at once."""
    rng = np.random.default_rng(1)
    bots = state_space({"domain": ["a", "b"] * 100, "level": np.arange(200) % 4 + 1})
    for step in range(150):
        bots.observe(bots.select(16), np.full((16, 8), reward), step=step)
    everything = np.arange(200)
    assert np.abs(bots.predict_mean(everything) - reward).max() < 0.1
    assert (bots.predict_deviation(everything) > 0).all()
    for step in range(150, 158):
        bots.observe(rng.choice(200, 16, replace=False), np.full((16, 8), 1 - reward), step=step)
    assert np.abs(bots.predict_mean(everything).mean() - (1 - reward)) < 0.15


def test_a_column_of_a_million_levels():
    """An ordered one is put into bins of equally many tasks, and the filter stays small; names are refused."""
    levels = np.random.default_rng(2).permutation(1_000_000)
    bots = state_space({"level": levels})
    model = bots._parts.beliefs
    assert len(model.book.cells) == 64
    assert np.ptp(np.bincount(model.book.cell[model.tasks.stratum])) <= 2
    assert len(model.states.mean) < 80
    hard = levels >= 500_000
    for step in range(3):
        rows = bots.select(32, step=step)
        bots.observe(rows, np.repeat((~hard[rows]).astype(float)[:, None], 8, axis=1), step=step)
    assert bots.predict_mean([int(np.argmin(levels))]) > bots.predict_mean([int(np.argmax(levels))])


def test_a_collapse_is_followed_as_fast_as_a_rise():
    """The same steps with successes and failures exchanged give the mirror image, down to rounding: nothing in the
    filter, its shocks included, knows up from down."""
    rng = np.random.default_rng(3)
    table = {"domain": [f"d{i % 3}" for i in range(300)], "level": np.arange(300) % 4 + 1}
    options = {"belief_options": {}}
    up, down = state_space(table, **options), state_space(table, **options)
    for bots in (up, down):  # a prior drift of 0 takes the assumption away that training helps
        model = bots._parts.beliefs
        model.states.mean = np.where(
            np.arange(len(model.states.mean)) >= model.states.drift, 0.0, model.states.mean
        )
    behind = []
    for step in range(48):
        rows = rng.choice(300, 24, replace=False)
        rewards = answers(rng, np.full(24, 0.1 if step < 40 else 0.9))
        up.observe(rows, rewards, step=step)
        down.observe(rows, 1 - rewards, step=step)
        behind.append(abs(up.predict_mean(np.arange(300)).mean() - 0.9))
    assert up.predict_mean(np.arange(300)) == pytest.approx(1 - down.predict_mean(np.arange(300)), abs=1e-4)
    assert up._parts.beliefs.states.shocks == down._parts.beliefs.states.shocks >= 1
    assert behind[43] < 0.2, "four steps after the jump"


def test_with_the_prior_drift_a_collapse_is_followed_too():
    """Training is believed to help, and that must not hold the belief up: four steps after the fall it is down."""
    rng = np.random.default_rng(4)
    table = {"domain": [f"d{i % 3}" for i in range(300)], "level": np.arange(300) % 4 + 1}
    ends = {}
    for name, rates in {"rise": (0.1, 0.9), "fall": (0.9, 0.1)}.items():
        bots = state_space(table)
        for step in range(44):
            rows = rng.choice(300, 24, replace=False)
            bots.observe(rows, answers(rng, np.full(24, rates[step >= 40])), step=step)
        ends[name] = abs(bots.predict_mean(np.arange(300)).mean() - rates[1])
    assert max(ends.values()) < 0.15
    assert abs(ends["rise"] - ends["fall"]) < 0.08


def test_a_snapshot_keeps_the_belief_it_was_made_with(tmp_path):
    """`BOTS.load` takes the model from the file, so that no resume reads one model's state as another's."""
    rng = np.random.default_rng(5)
    pool = TaskPool.from_arrow(pa.table({"level": np.arange(60) % 3}))
    for belief in ("beta", "state_space"):
        bots = BOTS(pool, belief=belief)
        bots.observe(np.arange(20), answers(rng, np.full(20, 0.3)), step=0)
        bots.save(tmp_path / belief)
        loaded = BOTS.load(tmp_path / belief, pool)
        assert loaded.settings["belief"] == belief
        assert (loaded.predict_mean(np.arange(60)) == bots.predict_mean(np.arange(60))).all()


def test_names_that_look_like_numbers_have_no_order():
    """Only integers are levels: cluster labels as text would else have false neighbors."""
    found = []
    for names in ("012345", "abcdef"):
        bots = state_space({"topic": list(names) * 20}, belief_options={"columns": ["topic"]})
        for step in range(6):
            bots.observe(np.arange(0, 60, 6), np.ones((10, 8)), step=step)
        found.append(bots.predict_mean(np.arange(6)))
    assert (found[0] == found[1]).all()
    assert np.ptp(found[0][1:]) < 1e-9, "no other topic is nearer to the first"


@pytest.mark.parametrize("role", ["columns", "features"])
def test_integers_of_any_size_are_taken(role):
    numbers = pa.array([2**62 + i for i in range(100)], pa.int64())
    bots = state_space({"length": numbers}, belief_options={role: ["length"]})
    assert len(bots.select(8)) == 8


def test_numbers_too_large_to_be_squared_are_features():
    numbers = np.array([1.7e308, -1.7e308, 1.0, 2.0] * 15)
    bots = state_space({"x": numbers}, belief_options={"features": ["x"]})
    bots.observe(bots.select(8), np.ones((8, 8)))
    assert np.isfinite(bots.predict_mean(np.arange(60))).all()
    assert bots.metrics()["belief/strata"] >= 3


def test_many_numeric_features_keep_two_bins_each_or_are_refused(monkeypatch):
    numbers = np.random.default_rng(0).random((3000, 11))
    table = {f"x{i}": numbers[:, i] for i in range(11)}
    monkeypatch.setattr(codebook, "MAX_STRATA", 1024)
    monkeypatch.setattr(codebook, "MOST_STRATA", 4096)
    book = state_space(table, belief_options={"features": list(table)})._parts.beliefs.book
    assert [len(bins["means"]) for bins in book._bins] == [2] * 11
    assert np.corrcoef(book.values[book.stratum][:, 10], numbers[:, 10])[0, 1] > 0.8
    monkeypatch.setattr(codebook, "MOST_STRATA", 1024)
    with pytest.raises(
        ValueError, match=r"'x0', 'x1'.* more than 1024 strata even with two bins.* embedding"
    ):
        state_space(table, belief_options={"features": list(table)})


@pytest.mark.parametrize("named", [{"level"}, 5, iter(["level"]), np.array(["level", "topic"]), "level"])
def test_columns_are_a_list_of_names(named):
    with pytest.raises(ValueError, match="it must be a list of column names"):
        state_space({"level": np.arange(60) % 3}, belief_options={"columns": named})


def test_what_a_default_pool_cannot_have_comes_with_a_way_out():
    many = {"level": [f"l{i}" for i in range(70_000)]}
    with pytest.raises(ValueError, match=r"70001 values.*an integer.*belief='beta'"):
        BOTS(TaskPool.from_arrow(pa.table(many)))
    ragged = {"embedding": pa.array([[1.0, 2.0], [1.0]] * 30)}
    with pytest.raises(ValueError, match=r"1 numbers in row 1.*'features': \[\].*leaves out"):
        BOTS(TaskPool.from_arrow(pa.table(ragged)))
    empty = {"level": np.arange(60) % 3, "embedding": pa.array([[]] * 60, pa.list_(pa.float32()))}
    assert len(BOTS(TaskPool.from_arrow(pa.table(empty))).select(8)) == 8


@pytest.mark.parametrize("prior", [(1e9, 1e-9), (1e-300, 1.0), (1e-30, 1e-30), (5e-324, 5e-324)])
def test_priors_of_hardly_any_mass_leave_numbers_to_select_by(prior):
    for given in (prior, tuple(np.full(60, max(one, 1e-30)) for one in prior)):
        bots = state_space({"level": np.arange(60) % 3}, prior=given)
        bots.observe(bots.select(16), np.ones((16, 8)))
        assert np.isfinite(bots.predict_mean(np.arange(60))).all()
        assert len(np.unique(bots.select(16))) == 16


def test_embeddings_that_say_nothing_are_left_out_where_nobody_named_them():
    table = {"level": np.arange(60) % 3, "embedding": pa.array([[0.0, 0.0]] * 60)}
    bots = BOTS(TaskPool.from_arrow(pa.table(table)), belief="auto")
    assert bots.settings["belief"] == "state_space"
    assert len(bots.select(8)) == 8
    with pytest.raises(ValueError, match="feature 'embedding' has no vector in any of 60 tasks"):
        state_space(table, belief_options={"features": ["embedding"]})


def test_what_is_no_belief_is_named_as_it_was_given():
    pool = TaskPool.from_arrow(pa.table({"level": np.arange(60) % 3}))
    with pytest.raises(ValueError, match=r'belief is None; it must be "auto", "beta"'):
        BOTS(pool, belief=None)
    with pytest.raises(ValueError, match="but belief 'auto' takes none"):
        BOTS(pool, belief="auto", belief_options={"crowding": 1})
