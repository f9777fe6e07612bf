"""A pool from a Hugging Face data set, and rows by id."""

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bots import BOTS, PoolError, TaskPool
from bots.lab.pool import lab_table


def lab_dataset(size=40):
    return datasets.Dataset(lab_table(size, seed=3, anchors=True))


def test_the_pool_of_a_data_set_is_that_of_its_table():
    pool = TaskPool.from_dataset(lab_dataset(), weak="weak", strong="strong")
    same = TaskPool.from_arrow(lab_table(40, seed=3, anchors=True), weak="weak", strong="strong")
    assert pool.fingerprint == same.fingerprint
    assert pool.has_levels
    np.testing.assert_array_equal(pool.weak, same.weak)


def test_rows_go_in_the_order_of_the_data_set_also_after_shuffling_and_filtering():
    dataset = lab_dataset().shuffle(seed=1).filter(lambda row: row["domain"] != "code")
    pool = TaskPool.from_dataset(dataset)
    assert pool.ids() == dataset["id"][:]
    assert pool.domains == tuple(dict.fromkeys(dataset["domain"]))


def test_a_column_may_be_the_level_under_another_name():
    dataset = lab_dataset().rename_column("level", "difficulty")
    assert not TaskPool.from_dataset(dataset).has_levels
    pool = TaskPool.from_dataset(dataset, level="difficulty")
    assert pool.table["level"].to_pylist() == dataset["difficulty"][:]
    both = TaskPool.from_dataset(lab_dataset().add_column("hardness", list(range(40))), level="hardness")
    assert both.table["level"].to_pylist() == list(range(40))


def test_so_it_may_in_a_table_and_in_a_file(tmp_path):
    table = lab_table(40, seed=3, anchors=True)
    renamed = table.rename_columns(["difficulty" if name == "level" else name for name in table.column_names])
    pq.write_table(renamed, tmp_path / "pool.parquet")
    for pool in (
        TaskPool.from_arrow(renamed, level="difficulty"),
        TaskPool.from_parquet(tmp_path / "pool.parquet", level="difficulty"),
        TaskPool.from_arrow(table, level="level"),
    ):
        assert pool.fingerprint == TaskPool.from_arrow(table).fingerprint
    with pytest.raises(PoolError, match=r"no column 'difficulty' \(level\); it has id"):
        TaskPool.from_arrow(table, level="difficulty")


def test_what_is_no_data_set_of_numbered_rows_is_refused():
    with pytest.raises(PoolError, match=r"IterableDataset has no numbered rows.*streaming"):
        TaskPool.from_dataset(lab_dataset().to_iterable_dataset())
    with pytest.raises(PoolError, match=r"'train', 'test'"):
        TaskPool.from_dataset(datasets.DatasetDict(train=lab_dataset(), test=lab_dataset()))
    with pytest.raises(PoolError, match="is a list"):
        TaskPool.from_dataset([{"prompt": "1+1"}])
    with pytest.raises(PoolError, match="no rows"):
        TaskPool.from_dataset(lab_dataset().select([]))


@pytest.mark.parametrize("meaning", ["weak", "strong", "level"])
def test_a_column_that_is_not_there_is_named(meaning):
    columns = {"weak": "weak", "strong": "strong", "level": "level"} | {meaning: "pass_rate"}
    with pytest.raises(PoolError, match=rf"no column 'pass_rate' \({meaning}\); it has id, prompt"):
        TaskPool.from_dataset(lab_dataset(), **columns)


def test_rows_are_found_by_their_ids():
    pool = TaskPool.from_dataset(lab_dataset())
    wanted = np.array([7, 0, 39, 7])
    np.testing.assert_array_equal(pool.rows(pool.ids(wanted)), wanted)
    assert pool.rows([]).dtype == np.int64
    with pytest.raises(PoolError, match="no task 'lab/none'"):
        pool.rows(["lab/none"])


def test_a_conversational_data_set_selects():
    rows = [{"prompt": [{"role": "user", "content": f"{n}+1"}], "answer": str(n + 1)} for n in range(6)]
    bots = BOTS(TaskPool.from_dataset(datasets.Dataset.from_list(rows)), rollouts=2)
    selected = bots.select(4)
    assert bots.observe(selected, np.zeros((4, 2))) == 4


def test_whole_levels_are_integers_also_where_pandas_made_them_floats():
    ids = ["a", "b", "c", "d"]
    whole = TaskPool.from_arrow(pa.table({"id": ids, "level": pa.array([1, 2, None, 2])}))
    floats = TaskPool.from_arrow(pa.table({"id": ids, "level": pa.array([1.0, 2.0, float("nan"), 2.0])}))
    assert floats.table["level"].equals(whole.table["level"])
    assert floats.fingerprint == whole.fingerprint
    assert BOTS(floats, rollouts=4)._settings.belief == "state_space"
    assert not TaskPool.from_arrow(pa.table({"level": [1.5, 2.0]})).has_levels
