from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from bots.lab import pool as lab_pool
from bots.lab.families import FAMILIES
from bots.lab.pool import SCHEMA, lab_table
from bots.lab.split import split_of
from bots.pool import TaskPool

EXPECTED_IDS = [
    "lab/math/2b6d8805467286e0450e68fb95dace17",
    "lab/code/33f5cca0f0a1e0cd80a1c5294db54965",
    "lab/math/8321e1db4182972c74f0ea9bf997d462",
]


def test_the_table_is_a_pool_with_distinct_prompts_and_all_levels() -> None:
    table = lab_table(800, seed=3)
    assert table.schema.equals(SCHEMA)
    assert len(set(table["prompt"].to_pylist())) == 800
    assert len(TaskPool.from_arrow(table)) == 800
    cells = table.group_by(["domain", "level"]).aggregate([("id", "count")])
    assert len(cells) == sum(family.max_level for family in FAMILIES.values())
    assert set(cells["id_count"].to_pylist()) == {20}


def test_the_same_seed_gives_the_same_table_and_another_seed_another() -> None:
    assert lab_table(300, seed=5).equals(lab_table(300, seed=5))
    assert lab_table(300, seed=5)["id"].to_pylist() != lab_table(300, seed=6)["id"].to_pylist()


def test_ids_are_the_same_on_every_machine() -> None:
    """Anchors are shipped by id: a change of the generator or of the hash must not go unseen."""
    table = lab_table(3, seed=0)
    assert table["id"].to_pylist() == EXPECTED_IDS


def test_evaluation_never_meets_training() -> None:
    for seed in range(3):
        train = lab_table(1500, seed=seed)
        evaluation = lab_table(900, seed=seed, split="eval")
        assert not set(train["prompt"].to_pylist()) & set(evaluation["prompt"].to_pylist())
        assert {split_of(prompt) for prompt in evaluation["prompt"].to_pylist()} == {"eval"}


def test_domains_and_levels_can_be_chosen() -> None:
    table = lab_table(60, seed=0, domains=("logic", "code"), levels={"logic": [2, 3], "code": [9]})
    found = {(row["domain"], row["level"]) for row in table.to_pylist()}
    assert found == {("logic", 2), ("logic", 3), ("code", 9)}


def test_an_easy_level_that_runs_out_is_filled_up_by_the_others() -> None:
    table = lab_table(900, seed=0, domains=("code",), levels=(1, 2))
    by_level = dict(
        zip(*(column.to_pylist() for column in pc.value_counts(table["level"]).flatten()), strict=True)
    )
    assert by_level[1] < 450 < by_level[2]
    assert by_level[1] + by_level[2] == 900


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": 5, "domains": ("maths",)}, "unknown domain 'maths'.*math, logic, code"),
        ({"size": 5, "domains": ()}, "at least one domain"),
        ({"size": 5, "split": "test"}, "split is 'test'"),
        ({"size": 5, "levels": (1, 13)}, "level 13 of 'logic' does not exist, it has 1 to 12"),
        ({"size": 5, "levels": {"math": [1]}}, "no entry for 'logic'"),
        ({"size": 5000, "domains": ("code",), "levels": (1,)}, "lower size or allow higher levels"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lab_table(seed=0, **arguments)


def test_anchors_join_by_id_and_what_was_not_measured_is_null(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = lab_table(10, seed=0)
    ids = table["id"].to_pylist()
    measured = pa.table(
        {"id": [ids[7], "lab/math/none", ids[2]], "weak": [0.0, 0.5, 0.25], "strong": [0.75, 1.0, 1.0]}
    )
    pq.write_table(measured, tmp_path / lab_pool.ANCHORS_FILE)
    monkeypatch.setattr(lab_pool, "files", lambda package: tmp_path)
    joined = lab_table(10, seed=0, anchors=True)
    assert joined.drop(["weak", "strong"]).equals(table)
    assert joined["weak"].to_pylist() == [{7: 0.0, 2: 0.25}.get(row) for row in range(10)]
    assert joined["strong"].to_pylist() == [{7: 0.75, 2: 1.0}.get(row) for row in range(10)]


def test_missing_anchors_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_pool, "files", lambda package: tmp_path)
    with pytest.raises(FileNotFoundError, match="measure the anchors first"):
        lab_table(10, seed=0, anchors=True)


@pytest.mark.parametrize("domains", [["math"], ["logic"], ["code"], ["math", "logic", "code"]])
def test_the_study_s_pools_have_all_anchors(domains):
    table = lab_table(4000, seed=7, domains=domains, anchors=True)
    assert table["weak"].null_count == table["strong"].null_count == 0
