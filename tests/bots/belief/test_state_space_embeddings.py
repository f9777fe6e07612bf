"""Embeddings as features of the state-space belief: what they predict, bad vectors, growing, memory."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, TaskPool
from bots.belief.state_space.embeddings import Embedding


def pool_of(vectors, **columns):
    return TaskPool.from_arrow(pa.table({"embedding": vectors, **columns}))


def lists(vectors):
    flat = pa.array(np.asarray(vectors, np.float64).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, len(vectors[0]))


def embedded(pool, **options):
    named = {"features": ["embedding"], **options}
    return BOTS(pool, rollouts=8, belief="state_space", belief_options=named)


@pytest.mark.parametrize("of_variable_length", [False, True])
def test_an_embedding_predicts_tasks_that_were_never_seen(of_variable_length):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2000, 32)) / np.sqrt(np.arange(1, 33))
    rates = 1 / (1 + np.exp(-2.5 * vectors[:, 1] / vectors[:, 1].std()))
    column = pa.array(vectors.tolist()) if of_variable_length else lists(vectors)
    bots = embedded(pool_of(column))
    for step in range(20):
        rows = np.arange(step * 16, step * 16 + 16)
        bots.observe(rows, (rng.random((16, 8)) < rates[rows, None]).astype(float), step=step)
    rest = np.arange(320, 2000)
    assert np.corrcoef(bots.predict_mean(rest), rates[rest])[0, 1] > 0.75
    assert len(bots._parts.beliefs.states.mean) == 1 + 32 + 5


def test_a_column_embedding_is_a_feature_unless_others_are_named():
    rng = np.random.default_rng(9)
    column = lists(rng.normal(size=(40, 4)))
    pool = pool_of(column, other=column, length=rng.normal(size=40))
    empty = pool_of(pa.array([None] * 40, column.type))
    for one, options, features in (
        (pool, {}, 4),
        (pool, {"features": []}, 0),
        (pool, {"features": ["length"]}, 1),
        (pool, {"features": ["other", "length"]}, 5),
        (empty, {}, 0),
    ):
        belief = BOTS(one, belief="state_space", belief_options=options)._parts.beliefs
        assert belief.states.traits.shape[1] == features, options


def test_vectors_that_say_nothing_are_missing():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(400, 8)).astype(object)
    column = vectors.tolist()
    column[0], column[1], column[2] = None, [0.0] * 8, [float("nan")] * 8
    column[3], column[4] = [float("inf"), *([0.0] * 7)], [None, *([1.0] * 7)]
    column[5] = (1e200 * np.array(column[6])).tolist()  # its direction counts
    pool = pool_of(pa.array(column, pa.list_(pa.float64(), 8)))
    codes = Embedding(pool, "embedding", 4).codes(pool, 0)
    assert (codes[:5] == codes.max()).all()
    assert (codes[5:] < codes.max()).all()
    assert codes[5] == codes[6]
    bots = embedded(pool)
    for step in range(4):
        rows = np.arange(8) + 4 * step
        bots.observe(rows, np.full((8, 4), 0.25), step=step)
    assert np.isfinite(bots.alpha).all()
    assert np.isfinite(bots.predict_deviation(np.arange(400))).all()


@pytest.mark.parametrize(
    "vectors",
    [[[1.0, 2.0]], [[3.0]] * 5, [[0.1, 0.2, 0.3]] * 50],
    ids=["one task", "one number", "all alike"],
)
def test_vectors_without_any_difference_change_nothing(vectors):
    tasks = len(vectors)
    pool = pool_of(lists(vectors))
    with_it, without = embedded(pool), embedded(pool, features=[])
    for bots in (with_it, without):
        bots.observe([0], [[1.0, 0.0, 1.0]], step=0)
        assert len(bots.select(tasks)) == tasks
    rows = np.arange(tasks)
    assert with_it.predict_mean(rows) == pytest.approx(without.predict_mean(rows), abs=1e-9)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([[1.0, 2.0], [1.0], None]), "has 1 numbers in row 1 (id 1), and 2 in rows before it"),
        (pa.array([None, None, None], pa.list_(pa.float32(), 3)), "has no vector in any of 3 tasks"),
        (pa.array([[0.0], [0.0], [float("nan")]]), "has no vector in any of 3 tasks"),
        (pa.array([[], [], []], pa.list_(pa.float32())), "has vectors of no numbers"),
        (pa.array([["a"], ["b"], ["c"]]), "it must hold numbers, or lists of floats"),
    ],
)
def test_columns_that_are_no_embedding_are_refused(column, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        embedded(pool_of(column))


def test_components_out_of_range_are_refused():
    with pytest.raises(ValueError, match="components is 0; it must be a whole number from 1 to 64"):
        embedded(pool_of(lists(np.eye(3))), components=0)


def test_growing_and_loading_keep_projection_and_points(tmp_path):
    """New tasks change neither; a copy of a known task joins its stratum, and so it does in a loaded belief."""
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(600, 6))
    more = np.concatenate([vectors, vectors[:50], 100 * rng.normal(5, 1, (400, 6))])
    small, large = pool_of(lists(vectors)), pool_of(lists(more))
    bots = embedded(small)
    bots.observe(np.arange(40), rng.random((40, 8)) < 0.5, step=0)
    before, strata = bots.predict_mean(np.arange(600)), bots._parts.beliefs.book.stratum.copy()
    bots.save(tmp_path / "small.arrow")
    bots.grow(large)
    loaded = BOTS.load(tmp_path / "small.arrow", large)
    for one in (bots, loaded):
        assert (one.predict_mean(np.arange(600)) == before).all()
        assert (one._parts.beliefs.book.stratum[:600] == strata).all()
        assert (one._parts.beliefs.book.stratum[600:650] == strata[:50]).all()
    rows = bots.select(64)
    assert (loaded.select(64) == rows).all()
    book, prior = loaded._parts.beliefs.book, loaded._parts.beliefs.prior
    with pytest.raises(ValueError, match="has 7 numbers in row 1050"):
        book.grow(pool_of(pa.array([*more.tolist(), [1.0] * 7])), prior)
    with pytest.raises(ValueError, match="has 7 numbers a task; it had 6"):
        book.grow(pool_of(lists(np.ones((1051, 7)))), prior)


def test_a_snapshot_has_the_strata_and_does_not_compute_them_again(tmp_path, monkeypatch):
    """Which point is nearest may hang on rounding, which another machine does otherwise."""
    rng = np.random.default_rng(3)
    pool = pool_of(lists(rng.normal(size=(300, 5))))
    bots = embedded(pool)
    bots.observe(np.arange(30), rng.random((30, 8)) < 0.5, step=0)
    bots.save(tmp_path / "belief.arrow")
    exact = Embedding.codes
    monkeypatch.setattr(Embedding, "codes", lambda *given: np.roll(exact(*given), 1))
    loaded = BOTS.load(tmp_path / "belief.arrow", pool)
    assert (loaded.predict_mean(np.arange(300)) == bots.predict_mean(np.arange(300))).all()
    assert (loaded.select(50) == bots.select(50)).all()


def test_tasks_beyond_the_points_have_the_features_of_one_near_them():
    """Points are tasks of the pool, each its own; of the others, nearly all get the nearest point of all."""
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(4000, 6)) / np.arange(1, 7)
    pool = pool_of(lists(vectors))
    whole, part = Embedding(pool, "embedding", 6), Embedding(pool, "embedding", 6, 500)
    assert (len(whole.points), len(part.points)) == (4000, 500)
    assert len(np.unique(whole.codes(pool, 0))) == 4000
    codes = part.codes(pool, 0)
    own = np.concatenate([z for _, z in part._projected(pool, np.arange(4000))])
    distance = np.linalg.norm(own[:, None] - part.points, axis=2)
    assert (codes == distance.argmin(axis=1)).mean() > 0.97
    assert (distance[np.arange(4000), codes] == 0).sum() == 500
    assert distance[np.arange(4000), codes].mean() < 1.005 * distance.min(axis=1).mean()


def test_a_snapshot_with_clusters_still_has_them(tmp_path):
    vectors = np.random.default_rng(7).normal(size=(300, 4))
    pool = pool_of(lists(vectors))
    made = Embedding(pool, "embedding", 4, 20)
    old = {"name": "embedding", "length": 4, "centre": made.centre, "projection": made.projection}
    loaded = Embedding.of({**old, "centres": made.points})
    projected = np.concatenate([z for _, z in made._projected(pool, np.arange(300))])
    nearest = np.linalg.norm(projected[:, None] - made.points, axis=2).argmin(axis=1)
    assert (loaded.codes(pool, 0) == nearest).all()


def test_a_snapshot_from_before_embeddings_were_features_unasked_stays_without(tmp_path):
    rng = np.random.default_rng(10)
    pool = pool_of(lists(rng.normal(size=(300, 4))), level=rng.integers(1, 4, 300))
    bots = embedded(pool, features=[])
    bots.observe(np.arange(30), rng.random((30, 8)) < 0.5, step=0)
    bots._settings = replace(bots._settings, belief_options={})
    bots.save(tmp_path / "old.arrow")
    loaded = BOTS.load(tmp_path / "old.arrow", pool)
    assert (loaded.predict_mean(np.arange(300)) == bots.predict_mean(np.arange(300))).all()
    for step in (1, 2):
        rows = loaded.select(20, step=step)
        assert (bots.select(20, step=step) == rows).all()
        for one in (loaded, bots):
            one.observe(rows, np.eye(20), step=step)


def test_where_nothing_else_tells_tasks_apart_embeddings_may_say_more():
    rng = np.random.default_rng(8)
    level = rng.integers(1, 9, 400)
    pool = pool_of(lists(rng.normal(size=(400, 4))), level=level)
    deviations = [
        np.sqrt(np.diag(one.root @ one.root.T)[-9])  # the first coefficient: four of them, five drifts
        for one in (embedded(pool, **o)._parts.beliefs.states for o in ({}, {"columns": []}))
    ]
    assert deviations == pytest.approx([0.75, 2.0])


def test_many_domains_share_the_coefficients():
    """Eight domains with 32 components would be 256 coefficients of domains' own: the state stays small."""
    rng = np.random.default_rng(4)
    domain = [f"d{d}" for d in np.arange(400) % 8]
    pool = pool_of(lists(rng.normal(size=(400, 32))), domain=domain)
    bots = embedded(pool)
    assert len(bots._parts.beliefs.states.mean) == 8 + 32 + 5
    few = embedded(pool, components=8)
    assert len(few._parts.beliefs.states.mean) == 8 + 8 * 9 + 5
    for one in (bots, few):
        one.observe(np.arange(64), rng.random((64, 8)) < 0.5, step=0)
        assert len(one.select(300)) == 300


def test_embeddings_take_at_most_forty_bytes_a_task_beside_their_points(monkeypatch):
    monkeypatch.setattr(Embedding.__init__, "__defaults__", (500,))
    rng = np.random.default_rng(5)
    bots = embedded(pool_of(lists(rng.normal(size=(5000, 16)))))
    model = bots._parts.beliefs
    bots.observe(np.arange(5000), rng.random((5000, 8)) < 0.5)
    by_task = [
        value
        for part in (model, model.tasks, model.book, *model.book._embeddings)
        for value in vars(part).values()
        if isinstance(value, np.ndarray) and len(value) == 5000
    ]
    assert sum(array.nbytes for array in {id(array): array for array in by_task}.values()) <= 40 * 5000


def test_few_vectors_in_a_large_pool_are_found(monkeypatch):
    """Also where those that are looked at first are zero."""
    monkeypatch.setattr("bots.belief.state_space.embeddings.SAMPLE", 4)
    vectors = np.zeros((1000, 3))
    vectors[500:502] = np.eye(3)[:2]
    bots = BOTS(
        TaskPool.from_arrow(pa.table({"embedding": pa.array(vectors.tolist())})), belief="state_space"
    )
    assert bots.metrics()["belief/strata"] == 3, "two points, and those without a vector"
