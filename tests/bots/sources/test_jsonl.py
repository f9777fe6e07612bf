"""JSON lines: fast where all is well, exact about the line where it is not."""

import json

import pytest

from bots.sources import PoolConfig, SourceError, jsonl, read_pool


def pool_of(*paths, **settings):
    source = {"kind": "jsonl", "grader": "exact", **settings}
    return read_pool(PoolConfig.model_validate({"sources": [{**source, "path": path} for path in paths]}))


def task(number):
    return {"prompt": f"{number}+1?", "answer": str(number + 1), "note": {"n": number}}


def test_rows_in_order_with_messages_or_text(write_lines):
    pool = pool_of(write_lines(*(task(n) for n in range(50))))
    assert pool.take([49], ["prompt", "answer"]) == [
        {"prompt": [{"role": "user", "content": "49+1?"}], "answer": "50"}
    ]
    messages = [{"role": "user", "content": "x"}]
    assert pool_of(write_lines({"prompt": messages, "answer": "a"})).take([0], ["prompt"]) == [
        {"prompt": messages}
    ]


def test_shards_and_blocks_keep_every_line_once(write_lines, monkeypatch):
    monkeypatch.setattr(jsonl, "SHARD_BYTES", 700)
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 128)
    pool = pool_of(write_lines(*(task(n) for n in range(200))))
    assert [row["answer"] for row in pool.take(range(200), ["answer"])] == [str(n + 1) for n in range(200)]


def test_blank_lines_are_no_rows_but_are_counted(write_lines):
    pool = pool_of(write_lines(task(0), "", task(1), "  ", "", task(2), "", ""))
    assert [row["answer"] for row in pool.take(range(3), ["answer"])] == ["1", "2", "3"]
    path = write_lines(task(0), "", task(1), "", '{"prompt": "half')
    with pytest.raises(SourceError, match=rf"{path}, line 5: broken JSON"):
        pool_of(path)
    with pytest.raises(SourceError, match="has no line with a JSON object"):
        pool_of(write_lines("", ""))


def test_broken_line_is_named_even_in_a_later_shard(write_lines, monkeypatch):
    monkeypatch.setattr(jsonl, "SHARD_BYTES", 700)
    path = write_lines(*(task(n) for n in range(60)), '{"prompt": "half', task(61))
    with pytest.raises(SourceError, match=rf"{path}, line 61: broken JSON"):
        pool_of(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": 3, "answer": "1"},
            "line 3: prompt is a number .3., but string in the file's first lines",
        ),
        ({"prompt": ["a"], "answer": "1"}, "line 3: prompt is a list"),
        ({"prompt": "x", "answer": 7}, "line 3: answer is a number .7., but string"),
        ({"answer": "1"}, "line 3: the prompt is null"),
        ('["a list"]', "line 3: a list, not an object"),
    ],
)
def test_bad_rows_are_refused_with_file_and_line(write_lines, row, message):
    with pytest.raises(SourceError, match=message):
        pool_of(write_lines(task(0), task(1), row, task(3)))


def test_an_allowed_share_is_left_out_counted_and_reported(write_lines, caplog):
    path = write_lines(*(task(n) for n in range(8)), '{"prompt', task(0))
    with caplog.at_level("INFO"):
        pool = pool_of(path, bad_rows=0.25)
    assert len(pool) == 8
    assert "8 of 10 rows, 0 of them with anchors, 2 bad rows left out" in caplog.text
    assert "line 9: broken JSON" in caplog.text
    assert "occurs more than once" in caplog.text
    with pytest.raises(
        SourceError, match=r"2 of 10 rows are bad, more than the allowed share 0\.1: .*line 9"
    ):
        pool_of(path, bad_rows=0.1)


def test_numbers_as_answers_are_written_out(write_lines):
    pool = pool_of(write_lines({"prompt": "a", "answer": 7}, {"prompt": "b", "answer": 2.5}))
    assert [row["answer"] for row in pool.take([0, 1], ["answer"])] == ["7", "2.5"]


def test_a_missing_field_names_those_that_are_there(write_lines):
    with pytest.raises(SourceError, match=r"no column 'prompt'.*it has question, answer"):
        pool_of(write_lines({"question": "a", "answer": "b"}))
    with pytest.raises(SourceError, match="no line with a JSON object"):
        pool_of(write_lines("nothing here"))


def test_the_same_task_in_two_sources_is_a_duplicate(write_lines):
    first, second = write_lines(task(1), name="a.jsonl"), write_lines(task(1), task(2), name="b.jsonl")
    with pytest.raises(SourceError, match=r"b\.jsonl: id '[0-9a-f]{32}' occurs more than once in the pool"):
        pool_of(first, second)


def test_ids_agree_with_the_parquet_reader(write_lines, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [task(n) for n in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    source = {"kind": "parquet", "path": str(tmp_path / "t.parquet"), "grader": "exact"}
    parquet = read_pool(PoolConfig.model_validate({"sources": [source]}))
    assert parquet.ids() == pool_of(write_lines(*rows)).ids()
    assert json.dumps(parquet.ids()[0])  # plain text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ['[{"prompt": "a", "answer": "1"}]'],
            "line 1 is one array of them: write each in a line of its own",
        ),
        (['{"prompt": "a"'], "no line with a JSON object; line 1: Expecting"),
        (["[" * 100_000], "no line with a JSON object; line 1: maximum recursion depth"),
        (
            ['{"prompt": "a", "answer": "1", "level": 1000000000000}'],
            "line 1: level is 1e.12; it must be an integer of",
        ),
        (['{"prompt": "a", "answer": "1"}', '{"x": ' + "[" * 3000 + "]" * 3000 + "}"], "line 2: "),
    ],
)
def test_what_no_parser_takes_is_named(write_lines, lines, message):
    with pytest.raises(SourceError, match=message):
        pool_of(write_lines(*lines))


def test_a_column_of_unlike_things_is_bad_only_where_it_is_kept(write_lines):
    path = write_lines({"prompt": "a", "answer": "1", "x": {"y": [1, {"z": 2}]}})
    assert len(pool_of(path)) == 1
    with pytest.raises(SourceError, match="line 1: x is a object"):
        pool_of(path, keep=["x"])
