"""The expectations that the posterior actor reports, even if a call is repeated or the actor dies in between."""

import numpy as np
import pyarrow as pa
import pytest

from actors.posterior import PosteriorActor, merged_metrics, write_pool
from bots import TaskPool

Actor = PosteriorActor.__ray_metadata__.modified_class
BINS = ("beliefs/selected", "beliefs/predicted", "beliefs/observed")


@pytest.fixture
def actor(tmp_path):
    """A function that creates the actor in this process, with the state in its folder."""
    pool = TaskPool.from_arrow(pa.table({"weak": [0.1] * 50, "strong": [0.9] * 50}), "weak", "strong")
    write_pool(pool, tmp_path / "pool.arrow")
    settings = {"rollouts": 4, "seed": 0}
    return lambda: Actor(
        str(tmp_path / "pool.arrow"), pool.anchor_columns, settings, str(tmp_path / "posterior")
    )


def test_expectations_are_those_from_before_the_outcome(actor):
    one = actor()
    rows, _ = one.select(1, 8)
    figures = one.observe(1, rows, np.ones((8, 4)))
    assert figures["beliefs/selected"][10] == 8, "the prior's mean is one half"
    assert sum(figures["beliefs/observed"]) == 8
    pool = one.survey()["beliefs/pool"]
    assert sum(pool) == 50
    assert pool[10] < 50, "the pool has learnt from it"


def test_a_repeated_call_gives_the_first_expectations(actor):
    one = actor()
    rows, _ = one.select(1, 8)
    first = one.observe(1, rows, np.ones((8, 4)))
    again = one.observe(1, rows, np.ones((8, 4)))
    reborn = actor().observe(1, rows, np.ones((8, 4)))  # the actor died before its reply arrived
    for name in BINS:
        assert first[name] == again[name] == reborn[name]


def test_two_parts_of_a_wave_are_two_observations(actor):
    one = actor()
    rows, _ = one.select(1, 8)
    parts = [one.observe(1, part, np.eye(4)[: len(part)]) for part in (rows[:3], rows[3:4], rows[4:])]
    both = merged_metrics(merged_metrics({}, parts[0]), merged_metrics(parts[1], parts[2]))
    assert sum(both["beliefs/selected"]) == 8
    assert both["posterior/batch/tasks"] == 8
    brier = [part["posterior/batch/brier"] * part["posterior/batch/tasks"] for part in parts]
    assert both["posterior/batch/brier"] == pytest.approx(sum(brier) / 8)
    assert both["posterior/step"] == parts[2]["posterior/step"]
