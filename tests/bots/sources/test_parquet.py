"""GURU's schema with no mapping at all, and what goes wrong with parquet files."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from bots.sources import NORMAL, PoolConfig, SourceError, read_pool


def pool_of(path, **settings):
    return read_pool(
        PoolConfig.model_validate({"sources": [{"kind": "parquet", "path": str(path), **settings}]})
    )


def test_guru_needs_no_mapping(guru):
    pool = pool_of(guru)
    assert pool.table.schema.equals(NORMAL)
    tasks = pool.take([0, 1, 2], ["prompt", "answer", "domain", "grader"])
    assert [task["domain"] for task in tasks] == ["math", "code", "logic"]
    assert [task["grader"] for task in tasks] == ["math", "code", "logic"]
    assert tasks[0]["answer"] == "5"
    assert tasks[1]["answer"] == '{"functional": "assert add(1, 2) == 3"}'
    assert tasks[2]["prompt"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Grid?"},
    ]
    np.testing.assert_array_equal(pool.weak, np.array([0.25, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(pool.strong, np.array([0.75, 1.0, 0.5], np.float32))
    assert pool.table["weak"].null_count == 2  # NaN in a file is as unknown as null


def test_ids_are_stable_and_know_nothing_of_file_order_or_system_prompt(guru, tmp_path):
    ids = pool_of(guru).ids()
    assert ids[0] == "1c6622d2d317efd18fce6db5800cce8e"  # the same on every machine, for ever
    table = pq.read_table(guru)
    turned = tmp_path / "turned.parquet"
    pq.write_table(table.take([2, 0]), turned, row_group_size=1)
    assert pool_of(turned).ids() == [ids[2], ids[0]]
    first = tmp_path / "first.parquet"
    pq.write_table(table.slice(0, 1), first)
    assert pool_of(first, system="Answer in one word.").ids() == [ids[0]]


def test_text_that_is_cut_elsewhere_has_another_id(tmp_path):
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"prompt": ["ab", "a"], "answer": ["c", "bc"]}), path)
    first, second = pool_of(path, grader="exact").ids()
    assert first != second


def test_folder_and_pattern_read_all_files_in_order_of_their_names(guru, tmp_path):
    table = pq.read_table(guru)
    folder = tmp_path / "folder"
    folder.mkdir()
    pq.write_table(table.slice(1, 2), folder / "b.parquet")
    pq.write_table(table.slice(0, 1), folder / "a.parquet")
    expected = pool_of(guru).ids()
    assert pool_of(folder).ids() == expected
    assert pool_of(f"{folder}/*.parquet").ids() == expected


def test_own_schema_with_mapping_kept_columns_and_system_prompt(tmp_path):
    path = tmp_path / "own.parquet"
    table = pa.table(
        {
            "q": pa.array(["1+1?", "2+2?"], pa.large_string()),
            "meta": [{"gold": 2, "name": "x"}, {"gold": 4, "name": "y"}],
            "topic": ["a", "b"],
            "hardness": [1.0, 2.0],
        }
    )
    pq.write_table(table, path)
    pool = pool_of(
        path,
        columns={"prompt": "q", "answer": "meta.gold", "id": "meta.name", "level": "hardness"},
        keep=["topic"],
        domain="sums",
        grader="exact",
        weight=2.5,
        system="Be exact.",
    )
    task = pool.take([1], pool.table.column_names)[0]
    assert task["prompt"] == [
        {"role": "system", "content": "Be exact."},
        {"role": "user", "content": "2+2?"},
    ]
    assert {k: task[k] for k in ("id", "answer", "domain", "grader", "level", "weight", "topic")} == {
        "id": "y",
        "answer": "4",
        "domain": "sums",
        "grader": "exact",
        "level": 2,
        "weight": 2.5,
        "topic": "b",
    }
    assert not pool.has_anchors


def test_nested_answers_become_json(tmp_path):
    path = tmp_path / "arc.parquet"
    pq.write_table(pa.table({"prompt": ["Grid?"], "answer": [[[1, 0], [0, 1]]]}), path)
    assert pool_of(path, grader="logic").take([0], ["answer"]) == [{"answer": "[[1, 0], [0, 1]]"}]


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        (
            {"question": ["a"], "answer": ["b"]},
            {},
            r"no column 'prompt' for the prompt; it has question, answer.*columns: \{prompt: NAME\}",
        ),
        ({"prompt": ["a"], "gold": ["b"]}, {}, "no column 'answer'.*it has prompt, gold"),
        ({"prompt": ["a"], "answer": ["b"]}, {"columns": {"id": "uid"}}, "no column 'uid' for id; it has"),
        ({"prompt": ["a"], "answer": ["b"]}, {"keep": ["level"]}, "no column 'level' to keep"),
        ({"prompt": ["a"], "answer": ["b"]}, {"grader": None}, "does not say which grader.*math"),
        ({"prompt": ["a"], "answer": ["b"]}, {"grader": "maths"}, "unknown grader 'maths'.*math"),
        ({"prompt": [3], "answer": ["b"]}, {}, "column 'prompt' has type int64; the prompt must be text or"),
        ({"prompt": ["a", None], "answer": ["b", "c"]}, {}, "row 1: the prompt is null"),
        ({"prompt": [" ", "a"], "answer": ["b", "c"]}, {}, "row 0: the prompt is empty"),
        ({"prompt": ["a", "b"], "answer": ["b", None]}, {}, "row 1: the answer is null"),
        (
            {"prompt": ["a"], "answer": ["b"], "weak": [1.5], "strong": [1.0]},
            {},
            r"row 0: weak is 1.5; a pass rate is in \[0, 1\]",
        ),
        ({"prompt": ["a", "a"], "answer": ["b", "b"]}, {}, "occurs more than once"),
        ({"id": ["x", "x"], "prompt": ["a", "c"], "answer": ["b", "b"]}, {}, "id 'x' occurs more than once"),
        (
            {"prompt": ["a"], "answer": ["b"], "grader": ["no_such"]},
            {"grader": None},
            "row 0: unknown grader 'no_such'",
        ),
        (
            {"prompt": [[{"role": "boss", "content": "a"}]], "answer": ["b"]},
            {},
            "row 0: a message's role is none of system, user",
        ),
        (
            {"prompt": [[{"role": "user", "content": None}]], "answer": ["b"]},
            {},
            "row 0: a message of the prompt has no content",
        ),
        ({"prompt": [[]], "answer": ["b"]}, {}, "type list<"),
    ],
)
def test_bad_input_is_refused_with_its_place(tmp_path, table, settings, message):
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table(table), path)
    with pytest.raises(ValueError, match=message):
        pool_of(path, **{"grader": "exact", **settings})


def test_a_file_that_is_not_there_or_not_parquet(tmp_path):
    with pytest.raises(SourceError, match=r"no such file or folder: .*none\.parquet"):
        pool_of(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("hello, this is not parquet at all")
    with pytest.raises(SourceError, match=r"text\.parquet cannot be read as parquet"):
        pool_of(tmp_path / "text.parquet")
    (tmp_path / "empty").mkdir()
    for empty in (tmp_path / "empty", f"file://{tmp_path / 'empty'}"):
        with pytest.raises(SourceError, match=r"has no file that ends in \.parquet"):
            pool_of(empty)
    with pytest.raises(SourceError, match=r"no such file or folder: file://.*none\.parquet"):
        pool_of(f"file://{tmp_path / 'none.parquet'}")
    with pytest.raises(SourceError, match=r"nowhere://pool cannot be reached: .*[Uu]nrecognized"):
        pool_of("nowhere://pool")


def test_guru_sources_without_a_grader_are_refused_unless_one_is_set(guru, tmp_path):
    path = tmp_path / "stem.parquet"
    rows = pq.read_table(guru).slice(0, 1).to_pylist()
    rows[0]["data_source"] = "stem__web"
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(SourceError, match="row 0: unknown domain: data_source is 'stem__web'; set `domain`"):
        pool_of(path)
    assert pool_of(path, domain="stem", grader="exact").domains == ("stem",)


def test_a_domain_that_is_not_allowed(guru):
    config = {"sources": [{"kind": "parquet", "path": str(guru)}], "domains": ["math", "logic"]}
    with pytest.raises(SourceError, match="row 1: unknown domain 'code'; allowed are math, logic"):
        read_pool(PoolConfig.model_validate(config))


def test_a_second_system_prompt_is_refused(guru):
    with pytest.raises(SourceError, match="row 2: the prompt has a system message of its own"):
        pool_of(guru, system="Be brief.")


def test_anchors_from_a_file_are_joined_by_id(guru, tmp_path):
    ids = pool_of(guru).ids()
    anchors = pa.table({"id": [ids[2], "other"], "weak": [0.125, 0.5], "strong": [0.5, 1.0]})
    pq.write_table(anchors, tmp_path / "anchors.parquet")
    pool = pool_of(guru, anchors=str(tmp_path / "anchors.parquet"))
    np.testing.assert_array_equal(pool.weak, np.array([np.nan, np.nan, 0.125], np.float32))
    with pytest.raises(SourceError, match="no such anchors file"):
        pool_of(guru, anchors=str(tmp_path / "nope.parquet"))


def test_embeddings_from_a_file_are_joined_by_id(guru, tmp_path):
    ids, path = pool_of(guru).ids(), str(tmp_path / "embeddings.parquet")
    for kind in (pa.list_(pa.float64()), pa.list_(pa.float16(), 2), pa.large_list(pa.float32())):
        halves = np.array([[0.5, -1], [2, 3]], np.float16)
        vectors = pa.array(list(halves), pa.list_(pa.float16())).cast(pa.list_(kind.value_type))
        vectors = pa.array([None, *vectors.to_pylist()], kind)
        pq.write_table(pa.table({"id": [ids[1], ids[2], "other"], "embedding": vectors}), path)
        column = pool_of(guru, embeddings=path).table["embedding"]
        assert column.type == pa.list_(pa.float32(), 2)
        assert column.to_pylist() == [None, None, [0.5, -1.0]]


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0, 2.0], [1.0]], "have one length above 0; those here: 1, 2"),
        (pa.array([None, None], pa.list_(pa.float32())), "those here: none"),
        (pa.array([[], []], pa.list_(pa.float32())), "those here: 0"),
        ([1.0, 2.0], "its column embedding is double, not lists of floats"),
        ([[1, 2], [3, 4]], "not lists of floats"),
    ],
)
def test_embeddings_that_are_none_are_refused(guru, tmp_path, vectors, message):
    ids, path = pool_of(guru).ids(), str(tmp_path / "embeddings.parquet")
    pq.write_table(pa.table({"id": [ids[0], ids[2]], "embedding": vectors}), path)
    with pytest.raises(SourceError, match=message):
        pool_of(guru, embeddings=path)
    with pytest.raises(SourceError, match="no such embeddings file"):
        pool_of(guru, embeddings=str(tmp_path / "nope.parquet"))
    with pytest.raises(ValueError, match="leave one out"):
        pool_of(guru, embeddings=path, keep=["embedding"])


def test_one_anchor_column_without_the_other_is_refused():
    with pytest.raises(ValueError, match=r"columns\.weak and columns\.strong come together"):
        PoolConfig.model_validate({"sources": [{"kind": "parquet", "path": "x", "columns": {"weak": "w"}}]})


def test_files_of_one_source_may_type_a_kept_column_differently(tmp_path):
    """pandas writes a column of nulls alone without a type, and whole numbers in several widths."""
    for name, level in (
        ("a", pa.array([1], pa.int32())),
        ("b", pa.array([2], pa.int64())),
        ("c", pa.nulls(1)),
    ):
        table = pa.table({"prompt": [f"{name}?"], "answer": [name], "hardness": level})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    pool = pool_of(tmp_path, grader="exact", keep=["hardness"])
    assert pool.table["hardness"].to_pylist() == [1, 2, None]
    pq.write_table(
        pa.table({"prompt": ["d?"], "answer": ["d"], "hardness": ["high"]}), tmp_path / "d.parquet"
    )
    with pytest.raises(SourceError, match="a column has other types in other files"):
        pool_of(tmp_path, grader="exact", keep=["hardness"])


def test_a_row_s_sum_of_graders_that_is_no_mean_is_named_with_its_place(tmp_path):
    path = tmp_path / "sums.parquet"
    pq.write_table(pa.table({"prompt": ["a?"], "answer": ["a"], "grader": ["0.9*math + 0.2*exact"]}), path)
    with pytest.raises(SourceError, match=r"sums\.parquet.*row 0.*the weights sum to 1\.1, not 1"):
        pool_of(path)


def test_the_options_of_an_address_hold_for_all_its_files(tmp_path, monkeypatch):
    """Such as the endpoint of one's own object store."""
    for name in ("a", "b"):
        pq.write_table(pa.table({"prompt": [f"{name}?"], "answer": [name]}), tmp_path / f"{name}.parquet")
    opened = []

    def from_uri(address):
        opened.append(address)
        return fs.LocalFileSystem(), address.removeprefix("store://").partition("?")[0]

    local = SimpleNamespace(FileSystem=SimpleNamespace(from_uri=from_uri), FileSelector=fs.FileSelector)
    monkeypatch.setattr("bots.sources.parquet.fs", local)
    assert len(pool_of(f"store://{tmp_path}?endpoint_override=here", grader="exact")) == 2
    assert all(address.endswith("?endpoint_override=here") for address in opened)
    assert len(opened) > 2


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = str(tmp_path / "t.parquet")
    columns = [pa.array(["a"]), pa.array(["1"]), pa.array(["2"])]
    pq.write_table(pa.Table.from_arrays(columns, names=["prompt", "answer", "answer"]), path)
    with pytest.raises(SourceError, match="has two columns called 'answer'"):
        read_pool(
            PoolConfig.model_validate({"sources": [{"kind": "parquet", "path": path, "grader": "exact"}]})
        )


def test_a_guru_row_without_a_source_is_a_bad_row(guru, tmp_path):
    table = pq.read_table(guru)
    nothing = pa.nulls(len(table), pa.string())
    path = str(tmp_path / "nameless.parquet")
    pq.write_table(
        table.set_column(table.schema.get_field_index("data_source"), "data_source", nothing), path
    )
    with pytest.raises(SourceError, match="row 0: "):
        read_pool(PoolConfig.model_validate({"sources": [{"kind": "parquet", "path": path}]}))
