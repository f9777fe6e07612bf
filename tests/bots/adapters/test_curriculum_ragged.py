"""Groups of different sizes in another trainer's loop."""

import numpy as np
import pytest

from bots import BOTS, TaskPool
from bots.adapters import Curriculum
from bots.lab.pool import lab_table


def curriculum(allocation, **options):
    pool = TaskPool.from_arrow(lab_table(60, seed=3, anchors=True), weak="weak", strong="strong")
    rates = np.array([rate(row) for row in range(60)])
    prior = 1 + 20 * rates, 21 - 20 * rates
    settings = {"prior": prior, "allocation": allocation, "allocation_options": options}
    return Curriculum(BOTS(pool, rollouts=6, seed=0, selector="random", **settings), ragged=True)


def rate(row):
    return (row % 7) / 6


def completions(rng, row, count):
    return (rng.random(count) < rate(row)).astype(float)


def test_a_trainer_with_groups_of_one_size_is_told_so():
    ours = curriculum("signal")
    with pytest.raises(ValueError, match=r"allocation 'signal', .* takes groups of one size; .* ragged=True"):
        Curriculum(ours.bots)


def test_a_group_is_complete_when_it_has_what_was_allocated(tmp_path):
    ours, rng = curriculum("knapsack"), np.random.default_rng(0)
    wave = ours.select(8)
    assert wave.rollouts.sum() == 48
    assert len(set(wave.rollouts.tolist())) > 1
    largest = int(np.argmax(wave.rollouts))
    row, size = int(wave.rows[largest]), int(wave.rollouts[largest])
    assert ours.observe([row] * (size - 1), completions(rng, row, size - 1)) == 0
    assert ours.wanted()[wave.number, row] == 1
    ours.save(tmp_path)
    again = curriculum("knapsack")
    again.load(tmp_path)
    for one in (ours, again):
        assert one.observe([row], [1.0]) == 1
        assert (wave.number, row) not in one.wanted()
        assert sum(one.wanted().values()) == 48 - size
    np.testing.assert_array_equal(ours.bots.alpha, again.bots.alpha)


def test_a_staged_group_asks_for_more_until_it_has_its_signal():
    ours, rng = curriculum("until_signal", size=3, rounds=4), np.random.default_rng(1)
    wave = ours.select(20)
    held = dict.fromkeys(wave.rows.tolist(), 0)
    rounds = 0
    while wanted := ours.wanted():
        rounds += 1
        for (number, row), count in wanted.items():
            held[row] += count
            ours.observe([row] * count, completions(rng, row, count), number)
    assert rounds == 4, "tasks with pass rate 0 or 1 have all rounds"
    assert {row: size for row, size in held.items() if rate(row) in (0, 1)} == {
        row: 12 for row in held if rate(row) in (0, 1)
    }
    assert min(held.values()) == 3
    observations = ours.bots.table()["observations"].to_numpy()
    assert observations[wave.rows].tolist() == [1] * 20, "each is counted once, with all of its rounds"


@pytest.mark.parametrize(
    ("allocation", "options"), [("until_signal", {"size": 2, "rounds": 3}), ("speed", {})]
)
def test_ungraded_completions_fill_places_in_every_round(allocation, options):
    ours = curriculum(allocation, **options)
    wave = ours.select(6)
    held, most = dict.fromkeys(wave.rows.tolist(), 0), ours.bots.allocator.most
    for _ in range(20):
        wanted = ours.wanted()
        for (number, row), count in wanted.items():
            held[row] += count
            ours.observe([row] * count, [np.nan, *([1.0, 0.0] * count)[: count - 1]], number)
    assert not wanted, "every group was completed"
    assert max(held.values()) <= most
    ours = curriculum(allocation, **options)
    wave = ours.select(1)
    rows = np.repeat(wave.rows, most + 1)
    assert ours.observe(rows, np.ones(most + 1)) == 1, "more than was asked for is taken as it is"
    assert not ours.wanted()
