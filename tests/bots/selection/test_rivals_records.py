"""Rivals that keep a record of their own, against examples worked by hand from their papers' equations."""

from math import tanh

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, TaskPool


def plain_pool(tasks, **columns):
    return TaskPool(pa.table({"x": np.arange(tasks), **columns}))


def group(right, n=8):
    return [1.0] * right + [0.0] * (n - right)


# --- AdaRFT


def test_adarft_takes_the_nearest_difficulties_and_its_target_follows_the_reward():
    """T ← clip(T + 50·tanh(2·(R - 0.5)), 0, 100), from 0."""
    pool = plain_pool(101, difficulty=np.arange(101.0))
    bots = BOTS(pool, selector="adarft", selector_options={"difficulty": "difficulty"}, evidence="none")
    rows = bots.select(4, step=0)
    assert rows.tolist() == [0, 1, 2, 3]
    bots.observe(rows, [group(8)] * 3 + [group(4)], step=0)  # R = 28/32
    assert bots.metrics()["selector/target"] == 0  # moves when the next wave is selected
    rows = bots.select(4, step=1)
    target = 50 * tanh(0.75)  # 31.76
    assert bots.metrics()["selector/target"] == pytest.approx(target)
    assert sorted(rows.tolist()) == [30, 31, 32, 33]
    assert rows[0] == 32
    bots.select(4, step=1)  # a refill moves nothing
    bots.observe(rows[:2], [group(0)] * 2, step=1)  # in two parts: R = 2/32
    bots.observe(rows[2:], [group(1), group(1)], step=1)
    bots.select(4, step=2)
    assert bots.metrics()["selector/target"] == 0  # 31.76 - 50·tanh(0.875) = -3.5 is below the lowest
    for step in range(2, 6):
        bots.observe(bots.select(4, step=step), [group(8)] * 4, step=step)
    assert bots.select(4, step=6).tolist() == [100, 99, 98, 97]  # four steps of 38.08 reach the highest


def test_adarft_takes_difficulties_from_the_anchors_and_unknown_ones_last():
    weak, strong = [0.9, 0.1, None, 0.4], [0.9, 0.5, None, None]
    pool = TaskPool(pa.table({"w": weak, "s": strong}), weak="w", strong="s")
    bots = BOTS(pool, selector="adarft")  # difficulties 10, 70, unknown, 60
    assert bots.select(4).tolist() == [0, 3, 1, 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs the tasks' difficulties: name the pool's weak and strong"),
        ({"difficulty": "hard"}, "difficulty is 'hard', but the pool has the columns x"),
        ({"difficulty": "name"}, "'name' of type string; difficulties are numbers"),
        ({"difficulty": "none"}, "'none', which has no value"),
        ({"difficulty": "x", "start": 101.0}, "start is 101.0, lowest 0.0 and highest 100.0"),
        ({"difficulty": "x", "eta": 0}, "eta is 0; it must be a finite number > 0"),
        ({"difficulty": "x", "alpha": float("inf")}, "alpha is inf; it must be a finite"),
    ],
)
def test_adarft_refuses(options, words):
    pool = plain_pool(3, name=["a", "b", "c"], none=pa.array([None] * 3, pa.float64()))
    with pytest.raises(ValueError, match=words):
        BOTS(pool, selector="adarft", selector_options=options)


# --- GRESO


def test_greso_skips_by_the_groups_without_signal():
    """1 - p^z: two groups all right, p_easy = ½, skip a task in ¾ of the epochs; one all wrong, in ½."""
    bots = BOTS(plain_pool(40), selector="greso", selector_options={"step": 0.0}, evidence="none")
    wrong, right, mixed = np.arange(10), np.arange(10, 20), np.arange(20, 40)
    both = np.concatenate([wrong, right])
    bots.observe(both, [group(8)] * 10 + [group(8)] * 10, step=0)
    bots.observe(both, [group(0)] * 10 + [group(8)] * 10, step=1)  # all wrong: the count starts over
    bots.observe(mixed, [group(3)] * 20, step=2)
    counts = np.zeros(40)
    step = 3
    while bots.metrics().get("selector/epoch", 0) < 60:
        counts[bots.select(10, step=step)] += 1
        step += 1
    assert counts[mixed] == pytest.approx(60, abs=1)
    assert counts[wrong].mean() == pytest.approx(30, abs=6)  # 600 coins: a standard deviation is 1.2 of 30
    assert counts[right].mean() == pytest.approx(15, abs=5)
    bots.observe(right[:1], [group(5)], step=step)
    assert bots._parts.selector.streak[right[:2]].tolist() == [0, 2]


def test_greso_moves_p_towards_the_share_without_signal():
    """Targets ¼/3 for all right and ¼·⅔ for all wrong; moves of .01, from the second epoch on."""
    bots = BOTS(plain_pool(8), selector="greso", evidence="none")
    rows = bots.select(8, step=0)
    bots.observe(rows, [group(8)] * 8, step=0)
    bots.select(8, step=1)
    assert bots.metrics()["selector/p_easy"] == 0.5  # the first epoch
    bots.observe([0, 1, 2, 3, 4, 5, 6, 7], [group(8), *[group(4)] * 7], step=1)
    bots.select(1, step=2)
    assert bots.metrics()["selector/p_easy"] == pytest.approx(0.49)  # 1/8 ≥ 1/12
    assert bots.metrics()["selector/p_hard"] == pytest.approx(0.51)  # 0/8 < 1/6
    bots.observe([0, 1, 2, 3, 4, 5, 6, 7], [group(0), group(0), *[group(4)] * 6], step=2)
    bots.select(1, step=3)
    assert bots.metrics()["selector/p_easy"] == pytest.approx(0.50)
    assert bots.metrics()["selector/p_hard"] == pytest.approx(0.50)  # 2/8 ≥ 1/6
    bots.observe([0], [[1.0]], step=3)  # one rollout says nothing
    assert bots._parts.selector.streak[0] == -1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"p_easy": 1.0}, r"p_easy is 1.0; it must be in \[0.05, 0.95\]"),
        ({"p_hard": 0.0}, "p_hard is 0.0"),
        ({"target": 0}, "target is 0; it must be a share"),
        ({"step": 1}, "step is 1; it must be in"),
    ],
)
def test_greso_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        BOTS(plain_pool(3), selector="greso", selector_options=options)


# --- DPS


def test_dps_follows_the_hidden_markov_model():
    """γ = ½, A₀ = 1. Two observations, one wave without, and the prediction for the wave after it."""
    bots = BOTS(plain_pool(3), selector="dps")
    dps = bots._parts.selector
    rows = np.array([0, 1, 2])
    assert dps.partial(rows) == pytest.approx([1 / 3] * 3)
    bots.observe([1], [group(3)], step=0)
    # A has the row (4/3, 4/3, 4/3) for "partly solved" and ones elsewhere: each column is (.3, .4, .3).
    assert dps.records["state"][0] == pytest.approx([0.3, 0.4, 0.3])
    bots.observe([1], [group(8)], step=1)
    # ½A + ½ has the row 7/6; one transition from partly solved to solved is added. Column "solved": (1, 7/6, 1).
    assert dps.records["state"][0] == pytest.approx([6 / 19, 7 / 19, 6 / 19])
    bots.select(3, step=3)
    # Wave 2 without it: the row 13/12, and 3/2 for partly solved to solved. Columns (12, 13, 12)/37, (12, 13, 18)/43.
    assert dps.partial(rows)[1] == pytest.approx(13 / 19 * (12 / 37 + 7 / 43))
    assert dps.partial(rows)[[0, 2]] == pytest.approx([1 / 3] * 2)


def test_dps_prefers_what_is_partly_solved_and_forgets_towards_the_prior():
    bots = BOTS(plain_pool(30), selector="dps", selector_options={"candidates": None})
    for step in range(3):
        bots.observe(np.arange(30), [group(0)] * 10 + [group(4)] * 10 + [group(8)] * 10, step=step)
    assert sorted(bots.select(10, step=3).tolist()) == list(range(10, 20))
    bots.select(10, step=10_000)
    assert bots._parts.selector.partial(np.arange(30)) == pytest.approx([1 / 3] * 30)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retention": 1.5}, r"retention is 1.5; it must be in \[0, 1\]"),
        ({"prior": 0.0}, "prior is 0.0; it must be a finite number > 0"),
        ({"candidates": -1}, "candidates is -1"),
    ],
)
def test_dps_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        BOTS(plain_pool(3), selector="dps", selector_options=options)
