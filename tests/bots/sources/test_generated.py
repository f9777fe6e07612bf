"""Sources that make or fetch tasks: the lab, reasoning-gym and Hugging Face data sets."""

import json

import datasets
import pytest
import reasoning_gym

from bots.graders.math import grade as grade_math
from bots.sources import PoolConfig, SourceError, read_pool


def pool_of(*sources):
    return read_pool(PoolConfig.model_validate({"sources": list(sources)}))


LAB = {"kind": "lab", "size": 60, "seed": 3, "anchors": None}


def test_the_lab_as_a_source_is_reproducible():
    pool = pool_of({**LAB, "domains": ["math", "logic"]})
    assert set(pool.domains) == {"math", "logic"}
    assert pool.ids() == pool_of({**LAB, "domains": ["math", "logic"]}).ids()
    assert pool.table["level"].null_count == 0


def test_tasks_know_their_evaluation_set():
    pool = pool_of({**LAB, "size": 2, "set": "one"}, {**LAB, "size": 3, "seed": 4, "set": "two"})
    assert pool.table["set"].to_pylist() == ["one"] * 2 + ["two"] * 3


def test_lab_settings_that_cannot_be_met():
    with pytest.raises(SourceError, match="lower size or allow higher levels"):
        pool_of({**LAB, "size": 100_000, "domains": ["math"], "levels": {"math": [1]}})
    with pytest.raises(ValueError, match="domains"):
        PoolConfig.model_validate({"sources": [{**LAB, "domains": ["history"]}]})


def test_reasoning_gym_entries_can_be_graded_from_the_pool():
    generators = [
        {"name": "chain_sum", "size": 5, "seed": 1, "config": {"min_terms": 2, "max_terms": 3}},
        {"name": "leg_counting", "size": 4},
    ]
    pool = pool_of({"kind": "reasoning_gym", "generators": generators, "keep": ["generator"]})
    assert len(pool) == 9
    assert pool.domains == ("reasoning_gym",)
    for task in pool.take(range(9), ["answer", "generator", "grader"]):
        entry = json.loads(task["answer"])
        score = reasoning_gym.get_score_answer_fn(task["generator"])
        assert score(entry["answer"], entry) == 1
        assert task["grader"] == "reasoning_gym"
    # A task keeps its id when more of them are drawn.
    more = [{**generators[0], "size": 8}]
    assert pool_of({"kind": "reasoning_gym", "generators": more}).ids()[:5] == pool.ids()[:5]


def test_reasoning_gym_with_domains_levels_and_another_grader():
    generators = [
        {"name": "chain_sum", "size": 3, "level": 1, "config": {"min_terms": 2, "max_terms": 2}},
        {"name": "chain_sum", "size": 2, "level": 4, "config": {"min_terms": 6, "max_terms": 6}},
        {"name": "products", "size": 2},
    ]
    mapped = {"domain": None, "grader": "math", "columns": {"domain": "generator", "answer": "answer_text"}}
    pool = pool_of({"kind": "reasoning_gym", "generators": generators, **mapped})
    tasks = pool.take(range(7), ["domain", "level", "answer", "grader"])
    assert [task["domain"] for task in tasks] == ["chain_sum"] * 5 + ["products"] * 2
    assert [task["level"] for task in tasks] == [1, 1, 1, 4, 4, None, None]
    for task in tasks:
        int(task["answer"])  # a number alone, not the entry
        assert task["grader"] == "math"
        assert grade_math("", task["answer"], f"It is {task['answer']}.").reward == 1


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        ({"name": "chain_summ"}, "no generator 'chain_summ'; it has .*chain_sum,"),
        ({"name": "chain_sum", "config": {"terms": 2}}, "refuses config .*its settings are .*min_terms"),
        ({"name": "chain_sum", "config": {"min_terms": 9, "max_terms": 2}}, "'chain_sum' refuses config"),
        ({"name": "arc_agi"}, "'arc_agi' cannot be used: its entries do not survive JSON"),
    ],
)
def test_generators_that_cannot_be_used(generator, message):
    with pytest.raises(SourceError, match=message):
        pool_of({"kind": "reasoning_gym", "generators": [generator]})


def test_hugging_face_folder(tmp_path):
    rows = [{"question": f"{n}?", "answer": str(n)} for n in range(20)]
    data = datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)})
    data.save_to_disk(str(tmp_path / "set"))
    source = {"kind": "huggingface", "path": str(tmp_path / "set"), "grader": "exact"}
    pool = pool_of({**source, "columns": {"prompt": "question"}})
    assert pool.take([19], ["prompt", "answer"]) == [
        {"prompt": [{"role": "user", "content": "19?"}], "answer": "19"}
    ]
    with pytest.raises(SourceError, match="has no split 'test'; it has train"):
        pool_of({**source, "split": "test"})
    with pytest.raises(SourceError, match="no column 'prompt' for the prompt; it has question, answer"):
        pool_of(source)


def test_hugging_face_data_files_and_unknown_names(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"prompt": "1?", "answer": "1"}\n')
    source = {"kind": "huggingface", "grader": "exact"}
    assert len(pool_of({**source, "path": str(folder)})) == 1
    with pytest.raises(SourceError, match="cannot be loaded"):
        pool_of({**source, "path": str(tmp_path / "nothing_here")})


def test_several_sources_in_one_pool(write_lines):
    path = write_lines({"prompt": "a?", "answer": "b", "tag": "x"})
    pool = pool_of(
        {**LAB, "size": 10, "weight": 3.0},
        {"kind": "jsonl", "path": path, "grader": "exact", "domain": "trivia", "keep": ["tag"]},
    )
    assert len(pool) == 11
    assert "trivia" in pool.domains
    assert pool.take([0, 10], ["weight", "tag"]) == [
        {"weight": 3.0, "tag": None},
        {"weight": 1.0, "tag": "x"},
    ]
