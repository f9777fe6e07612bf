"""What a pool gets while it grows: levels, reference pass rates, priors; and the belief that is saved after it."""

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, TaskPool
from tests.bots.belief.state_space_pools import answers, state_space

IDS = [str(i) for i in range(80)]


def pool_of(size, anchors=False, **columns):
    table = pa.table({"id": IDS[:size], **{name: column[:size] for name, column in columns.items()}})
    return TaskPool.from_arrow(table, *(("weak", "strong") if anchors else (None, None)))


def go_on_alike(one, other, steps=4):
    """The same evidence leaves the same bits, and the same tasks are selected."""
    rng = np.random.default_rng(9)
    for _ in range(steps):
        rows = one.select(8)
        assert (rows == other.select(8)).all()
        rewards = answers(rng, rng.random(8))
        for bots in (one, other):
            bots.observe(rows, rewards)
    everything = np.arange(len(one))
    assert (one.predict_mean(everything) == other.predict_mean(everything)).all()
    assert (one.predict_deviation(everything) == other.predict_deviation(everything)).all()


def saved_and_loaded(bots, tmp_path):
    bots.save(tmp_path / "snapshot")
    return BOTS.load(tmp_path / "snapshot", bots.pool)


def test_levels_that_came_with_growth_leave_the_cells_as_they_were(tmp_path):
    levels = pa.array([None] * 40 + [1, 2] * 20, pa.int32())
    bots = state_space(pool_of(40, level=levels))
    bots.observe([2, 3], [[1.0, 1.0], [0.0, 1.0]])
    bots.grow(pool_of(80, level=levels))
    go_on_alike(bots, saved_and_loaded(bots, tmp_path))
    assert bots.metrics()["belief/cells"] == 1, "what a cell is was decided at first"


@pytest.mark.parametrize("at_first", [False, True])
def test_reference_pass_rates_may_come_and_go(at_first, tmp_path):
    level = [i % 6 for i in range(80)]
    rates = np.linspace(0.1, 0.9, 80)
    measured = {"level": level, "weak": rates, "strong": rates}
    pools = pool_of(60, True, **measured), pool_of(80, level=level)
    if not at_first:
        pools = pool_of(60, level=level), pool_of(80, True, **measured)
    bots, rng = state_space(pools[0]), np.random.default_rng(0)
    bots.observe(np.arange(20), answers(rng, rates[:20]))
    bots.grow(pools[1])
    go_on_alike(bots, saved_and_loaded(bots, tmp_path))
    bots.save(tmp_path / "again")
    other = pool_of(80, True, **measured) if at_first else pool_of(80, level=level)
    with_others = BOTS.load(tmp_path / "again", other)
    assert np.isfinite(with_others.predict_mean(np.arange(80))).all()


@pytest.mark.parametrize("topics", [6, 300])
def test_a_prior_by_task_that_grew_is_not_what_was_believed_at_first(topics, tmp_path):
    """In the dense form, and in the low-rank one, where the prior variance is in every step's noise."""

    def pool(size):
        names = [f"t{i % topics}" for i in range(size)]
        return TaskPool.from_arrow(pa.table({"id": [str(i) for i in range(size)], "topic": names}))

    options = {"columns": ["topic"]}
    bots = state_space(pool(600), prior=(np.full(600, 2.0),) * 2, belief_options=options)
    bots.grow(pool(700), prior=(np.full(100, 50.0),) * 2)
    loaded = saved_and_loaded(bots, tmp_path)
    go_on_alike(bots, loaded)
    for one in (bots, loaded):
        one.grow(pool(720), prior=(np.full(20, 2.0),) * 2)
    go_on_alike(bots, loaded)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([1, 2], ["1", "2"], r"column 'length' has type string, and held integers before"),
        (["1", "2"], [1, 2], r"column 'length' has type int64, and held text or booleans before"),
        ([1, 2], [True, False], r"column 'length' has type bool, and held integers before"),
    ],
)
def test_a_column_of_another_type_is_refused_and_nothing_is_lost(before, after, message):
    bots = state_space(pool_of(40, length=before * 40), belief_options={"columns": ["length"]})
    bots.observe(np.arange(8), answers(np.random.default_rng(2), np.full(8, 0.3)))
    mean = bots.predict_mean(np.arange(40))
    with pytest.raises(ValueError, match=message):
        bots.grow(pool_of(60, length=after * 40))
    assert (bots.predict_mean(np.arange(40)) == mean).all()
    bots.grow(pool_of(60, length=before * 40))
    assert (bots.predict_mean(np.arange(40)) == mean).all()
