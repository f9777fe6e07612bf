"""Snapshots: exact, atomic, and refused with the reason when they cannot be right."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from bots import BOTS, AnchorPrior, SnapshotError, TaskPool
from bots.belief.snapshot import KEY


def make_pool(tasks, prefix="t"):
    rng = np.random.default_rng(0)
    weak = (rng.random(tasks) * 0.6).astype(np.float32)
    strong = np.minimum(1, weak + rng.random(tasks) * 0.5).astype(np.float32)
    weak[::17] = np.nan
    names = [f"{prefix}{i}" for i in range(tasks)]
    domain = np.array(["math", "code"])[np.arange(tasks) % 2]
    return TaskPool.from_arrow(
        pa.table({"id": names, "weak": weak, "strong": strong, "domain": domain}), "weak", "strong"
    )


def drive(bots, steps, seed):
    """Selections of some steps, each observed with rewards that depend on seed and step only."""
    picked = []
    for step in range(steps):
        rng = np.random.default_rng((seed, step))
        rows = bots.select(24)
        bots.observe(rows, (rng.random((24, 8)) < 0.5).astype(float))
        picked.append(rows)
    return np.array(picked)


@pytest.mark.parametrize(
    "arguments",
    [
        {"selector": "bots"},
        {"selector": "greedy", "prior": AnchorPrior()},
        {"selector": "random", "domain_shares": {"math": 2, "code": 1}},
        {"selector": "offline"},
        {"selector": "mopps", "prior": {"math": (1, 2), "code": (2, 1)}},
        {"selector": "dots"},
        {"selector": "variance", "evidence": "none"},
        {"evidence": "online", "cooldown": 2, "retire_above": 0.7, "recheck": 5},
        {"evidence": "item_response", "prior": (np.full(6000, 0.5), np.linspace(1, 2, 6000))},
        {"adaptor": None},
    ],
    ids=lambda a: "-".join(f"{v}" for v in a.values() if isinstance(v, str)),
)
def test_the_next_hundred_selections_are_the_same(tmp_path, arguments):
    pool = make_pool(6000)
    bots = BOTS(pool, seed=3, **arguments)
    drive(bots, 10, 1)
    late = bots.select(24)
    bots.save(tmp_path / "beliefs.arrow")
    loaded = BOTS.load(tmp_path / "beliefs.arrow", pool)
    assert loaded.settings == bots.settings
    assert loaded.metrics() == bots.metrics()
    for one in (bots, loaded):
        one.observe(late[:12], np.ones((12, 8)))
    assert (drive(bots, 100, 2) == drive(loaded, 100, 2)).all()
    assert (bots.alpha == loaded.alpha).all()
    assert (bots.beta == loaded.beta).all()


@pytest.mark.parametrize("adaptor", [None, "predictive"])
def test_going_on_with_other_values_leaves_a_self_tuner_its_own(tmp_path, adaptor):
    pool = make_pool(300)
    bots = BOTS(pool, adaptor=adaptor)
    drive(bots, 12, 0)
    found = (0.3, 0.2) if adaptor is None else (bots.lam, bots.rho)
    bots.retune(lam=0.3, rho=0.2, p_star=0.7)
    bots.save(tmp_path / "beliefs.arrow")
    loaded = BOTS.load(tmp_path / "beliefs.arrow", pool)
    assert (loaded.lam, loaded.rho, loaded.p_star) == (*found, 0.7)
    drive(loaded, 5, 0)
    assert loaded.p_star == 0.7, "an adaptor that does not tune it keeps it"


def test_other_tools_can_read_it(tmp_path):
    bots = BOTS(make_pool(50))
    drive(bots, 2, 0)
    bots.save(tmp_path / "beliefs.arrow")
    table = pa.ipc.open_file(tmp_path / "beliefs.arrow").read_all()
    assert table.drop("dispersion").equals(bots.table().drop("dispersion"))  # NaN equals nothing


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.999])
def test_truncated(tmp_path, part):
    path = tmp_path / "beliefs.arrow"
    pool = make_pool(500)
    BOTS(pool).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(SnapshotError, match="truncated"):
        BOTS.load(path, pool)


def test_foreign_newer_missing_and_unrelated(tmp_path):
    path = tmp_path / "beliefs.arrow"
    pool = make_pool(50)
    BOTS(pool).save(path)
    with pytest.raises(SnapshotError, match="another pool"):
        BOTS.load(path, make_pool(50, "x"))
    with pytest.raises(SnapshotError, match="another pool"):
        BOTS.load(path, make_pool(40))
    table = pa.ipc.open_file(path).read_all()
    header = json.loads(table.schema.metadata[KEY])
    header["version"] += 1
    newer = table.replace_schema_metadata({KEY: json.dumps(header)})
    with pa.ipc.new_file(path, newer.schema) as writer:
        writer.write_table(newer)
    with pytest.raises(SnapshotError, match="newer"):
        BOTS.load(path, pool)
    damaged = table.replace_schema_metadata({KEY: json.dumps({"version": 1})})
    with pa.ipc.new_file(path, damaged.schema) as writer:
        writer.write_table(damaged)
    with pytest.raises(SnapshotError, match="damaged: its header lacks fingerprint, prior, state, tasks"):
        BOTS.load(path, pool)
    with pa.ipc.new_file(path, pool.table.schema) as writer:
        writer.write_table(pool.table)
    with pytest.raises(SnapshotError, match="not a snapshot"):
        BOTS.load(path, pool)
    with pytest.raises(SnapshotError, match="there is no snapshot"):
        BOTS.load(tmp_path / "nowhere.arrow", pool)


def test_a_failed_save_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "beliefs.arrow"
    pool = make_pool(50)
    bots = BOTS(pool)
    bots.save(path)
    before = path.read_bytes()
    drive(bots, 1, 0)

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("bots.support.files.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        bots.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["beliefs.arrow"]


def test_the_pool_may_grow(tmp_path):
    """New tasks start at the prior, old ones keep their beliefs; growing at load is growing in place."""
    small, large = make_pool(300), make_pool(500)
    bots = BOTS(small, selector="bots", prior=AnchorPrior())
    drive(bots, 5, 0)
    bots.save(tmp_path / "beliefs.arrow")
    alpha = bots.alpha.copy()
    bots.grow(large)
    loaded = BOTS.load(tmp_path / "beliefs.arrow", large)
    assert (bots.alpha[:300] == alpha).all()
    assert (bots.alpha[300:] == BOTS(large, prior=AnchorPrior()).alpha[300:]).all()
    assert (drive(bots, 10, 1) == drive(loaded, 10, 1)).all()
    with pytest.raises(ValueError, match="does not begin with"):
        bots.grow(make_pool(600, "x"))


def test_growing_with_a_prior_by_task():
    small, large = make_pool(3), make_pool(5)
    bots = BOTS(small, prior=([1, 2, 3], [1, 1, 1]))
    with pytest.raises(ValueError, match="new rows"):
        bots.grow(large)
    bots.grow(large, prior=([4, 5], [1, 1]))
    assert bots.alpha.tolist() == [1, 2, 3, 4, 5]


def test_the_fingerprint_does_not_depend_on_chunks():
    table = make_pool(100).table
    chunked = pa.concat_tables([table.slice(0, 30), table.slice(30)])
    assert TaskPool(chunked).fingerprint == TaskPool(table).fingerprint


def test_row_numbers_alone_do_not_make_two_pools_the_same(tmp_path):
    """GURU's files have no ids: what is asked tells its pools apart."""
    asked = [[{"role": "user", "content": f"{i} + 1 = ?"}] for i in range(300)]
    table = pa.table({"prompt": asked, "answer": [str(i + 1) for i in range(300)], "rate": [0.5] * 300})
    saved = BOTS(TaskPool.from_arrow(table.slice(0, 200)), seed=1)
    saved.save(tmp_path / "beliefs.arrow")
    other_order, other_answers = (
        table.take(np.arange(300)[::-1]),
        table.set_column(1, "answer", table["prompt"]),
    )
    for other in (other_order, other_answers, table.slice(100)):
        with pytest.raises(SnapshotError, match="belongs to another pool"):
            BOTS.load(tmp_path / "beliefs.arrow", TaskPool.from_arrow(other))
        with pytest.raises(ValueError, match="does not begin with"):
            saved.grow(TaskPool.from_arrow(other))
    in_pieces = pa.concat_tables([table.slice(0, 7), table.slice(7, 150), table.slice(157)]).set_column(
        2, "rate", pa.array([0.25] * 300)
    )
    assert len(BOTS.load(tmp_path / "beliefs.arrow", TaskPool.from_arrow(in_pieces))) == 300
    assert (
        TaskPool.from_arrow(in_pieces).head(200).fingerprint
        == TaskPool.from_arrow(table.slice(0, 200)).fingerprint
    )


def test_columns_of_every_kind_count_where_there_are_no_prompts():
    plain = {
        "number": pa.array([1, None, 3]),
        "rate": pa.array([0.5, 0.25, None]),
        "flag": pa.array([True, False, None]),
        "domain": pa.array(["a", None, "a"]).dictionary_encode(),
        "tags": pa.array([["x"], [], None]),
        "date": pa.array([1, 2, 3], pa.timestamp("s")),
    }
    prints = {TaskPool.from_arrow(pa.table(plain)).fingerprint}
    for name, column in plain.items():
        turned = pa.table({**plain, name: column.take(pa.array([2, 1, 0]))})
        prints.add(TaskPool.from_arrow(turned).fingerprint)
    decoded = pa.table({**plain, "domain": plain["domain"].dictionary_decode()})
    assert TaskPool.from_arrow(decoded).fingerprint in prints
    assert len(prints) == 6, "the domain is the same from both ends"


def test_a_pool_that_cannot_be_taken_leaves_everything_as_it_was(tmp_path):
    def pool(rows, last=1.0):
        vectors = np.random.default_rng(2).random((rows, 4)).astype(np.float32)
        vectors[-1, 0] = last
        embedding = pa.FixedSizeListArray.from_arrays(vectors.ravel(), 4)
        return TaskPool.from_arrow(pa.table({"id": [f"t{i}" for i in range(rows)], "embedding": embedding}))

    bots = BOTS(pool(300), evidence="neighbours", seed=1)
    drive(bots, 3, 1)
    bots.save(tmp_path / "before.arrow")
    with pytest.raises(ValueError, match="embedding"):
        bots.grow(pool(400, np.inf))
    bots.save(tmp_path / "after.arrow")
    assert (tmp_path / "before.arrow").read_bytes() == (tmp_path / "after.arrow").read_bytes()
    assert len(bots) == len(bots.alpha) == 300
    bots.grow(pool(400))
    drive(bots, 3, 2)


def test_a_prior_by_task_grows_with_a_snapshot(tmp_path):
    BOTS(make_pool(100), prior=(np.full(100, 2.0), np.ones(100))).save(tmp_path / "beliefs.arrow")
    with pytest.raises(ValueError, match="by task"):
        BOTS.load(tmp_path / "beliefs.arrow", make_pool(150))
    grown = BOTS.load(tmp_path / "beliefs.arrow", make_pool(150), prior=(np.full(50, 3.0), np.ones(50)))
    assert grown.alpha.tolist() == [2.0] * 100 + [3.0] * 50
