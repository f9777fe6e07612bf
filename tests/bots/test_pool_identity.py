"""What makes a pool the same pool: not the ids alone, but all that a run depends on."""

import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pytest

from actors.posterior import write_pool
from bots import BOTS, TaskPool
from bots.belief.snapshot import KEY, SnapshotError
from bots.support.row_digest import row_digests


def table(rows=200, **changed):
    columns = {
        "id": pa.array([f"t{i}" for i in range(rows)]),
        "prompt": pa.array([[{"role": "user", "content": f"{i} + 1 = ?"}] for i in range(rows)]),
        "answer": pa.array([str(i + 1) for i in range(rows)]),
        "grader": pa.array(["math"] * rows),
        "domain": pa.array(["math"] * rows),
        "level": pa.array([i % 5 for i in range(rows)], pa.int32()),
        "weak": pa.array([0.5] * rows),
        "strong": pa.array([0.75] * rows),
    }
    return pa.table(columns | changed)


def pool(made):
    return TaskPool.from_arrow(made, "weak", "strong")


def with_one_changed(name):
    """The table with another value in row 17 of one column."""
    values = table()[name].to_pylist()
    other = {"prompt": [{"role": "user", "content": "17 + 2 = ?"}], "level": 9}.get(name, "other")
    values[17] = other
    return table(**{name: pa.array(values, table()[name].type)})


CHANGES = ["prompt", "answer", "grader", "domain", "level"]


@pytest.mark.parametrize("column", CHANGES)
def test_a_snapshot_refuses_tasks_of_the_same_id_that_are_others(tmp_path, column):
    BOTS(pool(table()), seed=1).save(tmp_path / "beliefs.arrow")
    said = r"1 tasks of the same id have another prompt, .*, the first of them 't17' in row 17"
    with pytest.raises(SnapshotError, match=said):
        BOTS.load(tmp_path / "beliefs.arrow", pool(with_one_changed(column)))
    with pytest.raises(ValueError, match=said):
        BOTS(pool(table())).grow(pool(with_one_changed(column)))


def test_what_a_run_does_not_depend_on_may_change(tmp_path):
    BOTS(pool(table()), seed=1).save(tmp_path / "beliefs.arrow")
    other = table(weak=pa.array([0.25] * 200), note=pa.array(["seen"] * 200))
    assert len(BOTS.load(tmp_path / "beliefs.arrow", pool(other))) == 200


def test_a_role_a_message_more_and_text_that_moves_between_messages_count():
    def of(messages):
        return TaskPool.from_arrow(pa.table({"id": ["a"], "prompt": [messages]})).fingerprint

    said = [
        [{"role": "user", "content": "ab"}],
        [{"role": "system", "content": "ab"}],
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": "ab"}, {"role": "user", "content": ""}],
        [{"role": "user", "content": "ab\0"}],
        [],
    ]
    assert len({of(messages) for messages in said}) == len(said)


def test_chunks_slices_and_encodings_do_not_count():
    whole = table(1000)
    pieces = pa.concat_tables([whole.slice(0, 7), whole.slice(7, 500), whole.slice(507)])
    encoded = whole.set_column(3, "grader", whole["grader"].dictionary_encode())
    large = whole.set_column(2, "answer", whole["answer"].cast(pa.large_string()))
    wide = whole.set_column(5, "level", whole["level"].cast(pa.int64()))
    turned = whole.select(["level", "answer", "prompt", "id", "domain", "grader", "strong", "weak"])
    expected = pool(whole).fingerprint
    for same in (pieces, encoded, large, wide, turned):
        assert pool(same).fingerprint == expected
    assert pool(pieces).head(300).fingerprint == pool(whole.slice(0, 300)).fingerprint


def test_nulls_are_not_empty():
    digests = row_digests(pa.table({"x": pa.array(["", None, "a"]), "y": pa.array([0, None, 0])}))
    assert len(set(digests.tolist())) == 3


def test_the_posterior_s_file_stands_for_the_prompts_that_it_leaves_out(tmp_path):
    write_pool(pool(table()), tmp_path / "pool.arrow")
    with ipc.open_file(str(tmp_path / "pool.arrow")) as file:
        small = pool(file.read_all())
    assert "prompt" not in small.table.column_names
    assert small.fingerprint == pool(table()).fingerprint
    BOTS(small, seed=1).save(tmp_path / "beliefs.arrow")
    assert len(BOTS.load(tmp_path / "beliefs.arrow", pool(table()))) == 200
    with pytest.raises(SnapshotError, match="'t17' in row 17"):
        BOTS.load(tmp_path / "beliefs.arrow", pool(with_one_changed("answer")))


def as_version_1(path, of):
    """Turn a snapshot into one of the version that knew the ids alone."""
    with ipc.open_file(str(path)) as file:
        read = file.read_all()
    header = json.loads(read.schema.metadata[KEY])
    header |= {"version": 1, "fingerprint": of.id_fingerprint(len(of))}
    old = read.replace_schema_metadata({KEY: json.dumps(header).encode()})
    with ipc.new_file(str(path), old.schema) as writer:
        writer.write_table(old)


def test_an_old_snapshot_loads_where_the_ids_are_the_same_and_says_what_it_cannot_check(tmp_path):
    path = tmp_path / "beliefs.arrow"
    bots = BOTS(pool(table()), seed=1)
    bots.save(path)
    as_version_1(path, pool(table()))
    with pytest.warns(UserWarning, match="noted only the ids of its tasks"):
        loaded = BOTS.load(path, pool(with_one_changed("answer")))
    assert (loaded.select(20) == bots.select(20)).all()
    other = table(id=pa.array([f"u{i}" for i in range(200)]))
    with pytest.raises(SnapshotError, match="row 0 is task 'u0', and was 't0'"):
        BOTS.load(path, pool(other))
    loaded.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BOTS.load(path, pool(with_one_changed("answer")))


def test_a_million_digests_have_no_collision():
    numbers = pa.table({"x": pa.array(np.arange(1_000_000)).cast(pa.string())})
    assert len(np.unique(row_digests(numbers))) == 1_000_000
