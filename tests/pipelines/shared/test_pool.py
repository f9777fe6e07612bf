"""Pools through Ray Data: same as in one process, in the same order, refused with the same messages."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bots.lab.tokenizer import build_tokenizer
from bots.sources import PoolConfig, SourceError, jsonl, parquet, read_pool
from pipelines.shared.pool import build_pool


def write_parquet(path, first, count, **options):
    table = pa.table(
        {
            "prompt": [f"{n}+1=" for n in range(first, first + count)],
            "answer": [str(n + 1) for n in range(first, first + count)],
        }
    )
    pq.write_table(table, path, **options)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Two kinds, in many shards, so that Ray Data's tasks can overtake each other."""
    monkeypatch.setattr(parquet, "SHARD_ROWS", 100)
    monkeypatch.setattr(jsonl, "SHARD_BYTES", 1000)
    write_parquet(tmp_path / "a.parquet", 0, 500, row_group_size=50)
    lines = [json.dumps({"prompt": f"{n}-1=", "answer": str(n - 1)}) for n in range(100)]
    (tmp_path / "b.jsonl").write_text("\n".join(lines) + "\n")
    return [
        {"kind": "parquet", "path": str(tmp_path / "a.parquet"), "grader": "exact", "domain": "plus"},
        {"kind": "jsonl", "path": str(tmp_path / "b.jsonl"), "grader": "exact", "domain": "minus"},
    ]


def test_streamed_through_ray_data_it_is_the_same_pool(cluster, sources):
    config = PoolConfig.model_validate({"sources": sources})
    streamed, here = build_pool(config), read_pool(config)
    assert len(streamed) == 600
    assert streamed.fingerprint == here.fingerprint
    assert streamed.table.equals(here.table)
    assert streamed.domains == ("plus", "minus")


def test_prompts_that_are_too_long_are_left_out_and_counted(cluster, sources, caplog, monkeypatch):
    # Every counting process imports transformers: two of them are enough.
    monkeypatch.setattr(parquet, "SHARD_ROWS", 500)
    monkeypatch.setattr(jsonl, "SHARD_BYTES", 1 << 20)
    config = PoolConfig.model_validate({"sources": sources, "max_prompt_tokens": 6})
    with caplog.at_level("INFO"):
        pool = build_pool(config, build_tokenizer())
    # <bos>, the digits, "+1=": numbers with up to two digits have at most six tokens.
    assert len(pool) == 100 + 100
    assert "100 of 500 rows, 0 of them with anchors, 400 left out for their length" in caplog.text


def test_the_length_filter_needs_a_tokenizer_with_a_template(sources):
    config = PoolConfig.model_validate({"sources": sources, "max_prompt_tokens": 5})
    with pytest.raises(SourceError, match="max_prompt_tokens is 5, but there is no tokenizer"):
        build_pool(config)
    with pytest.raises(SourceError, match=r"use pipelines\.shared\.pool\.build_pool"):
        read_pool(config)
    bare = build_tokenizer()
    bare.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        build_pool(config, bare)


def test_a_bad_row_on_the_cluster_is_named_as_in_one_process(cluster, sources, tmp_path):
    with (tmp_path / "b.jsonl").open("a") as file:
        file.write('{"prompt": null, "answer": "1"}\n')
    config = PoolConfig.model_validate({"sources": sources})
    with pytest.raises(SourceError, match=r"b\.jsonl, line 101: the prompt is null"):
        build_pool(config)
    allowed = [sources[0], {**sources[1], "bad_rows": 0.02}]
    assert len(build_pool(PoolConfig.model_validate({"sources": allowed}))) == 600


def test_a_damaged_file_is_an_error_and_no_short_pool(cluster, sources, tmp_path):
    damaged = tmp_path / "c.parquet"
    write_parquet(damaged, 1000, 300, row_group_size=50)
    content = bytearray(damaged.read_bytes())
    content[40:400] = bytes(360)
    damaged.write_bytes(content)
    more = [*sources, {**sources[0], "path": str(damaged)}]
    with pytest.raises(SourceError, match=r"c\.parquet is damaged at or after row 0"):
        build_pool(PoolConfig.model_validate({"sources": more}))
