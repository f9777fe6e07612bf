"""Data sets as they are published: read without settings, from any kind of file."""

import gzip
import json

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from bots.graders.registry import resolve
from bots.sources import PoolConfig, SourceError, read_pool
from tests.bots.sources.conftest import GURU_ROWS


def pool_of(*sources, **pool):
    return read_pool(PoolConfig.model_validate({"sources": list(sources), **pool}))


def rows_of(pool, *columns):
    return pool.take(range(len(pool)), columns or ["id", "prompt", "answer", "domain", "grader"])


GSM8K = [
    {"question": "2 and 3?", "answer": "2+3 = <<2+3=5>>5.\n#### 5"},
    {"question": "A thousand?", "answer": "So it is.\n#### 1,000"},
]
MATH = [
    {"problem": "1+1?", "level": "Level 2", "type": "Algebra", "solution": "It is $\\boxed{2}$."},
    {
        "problem": "Half?",
        "level": "Level ?",
        "type": "Algebra",
        "solution": "So $\\boxed{\\frac{1}{2}}$, or .5",
    },
]
DEEPSCALER = [{"problem": "x?", "answer": "\\frac{3}{4}", "solution": "long, with $\\boxed{1}$ in it"}]
DAPO = [
    {
        "prompt": "x?", "solution": "34", "data_source": "math_dapo", "ability": "MATH",
        "source_prompt": [{"role": "user", "content": "x?"}], "reward_model": {"ground_truth": "34", "style": "rule"},
        "extra_info": {"index": "a"},
    }
]  # fmt: skip
DAPO_PLAIN = [{"prompt": "x?", "solution": "34", "source_prompt": [{"role": "user", "content": "x? Think."}]}]
VERL_GSM8K = [
    {
        "data_source": "openai/gsm8k", "prompt": [{"role": "user", "content": "2 and 3?"}], "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "5"}, "extra_info": {"index": 0},
    }
]  # fmt: skip
MBPP = [
    {
        "task_id": 11, "text": "Add two numbers.", "code": "def add(a, b):\r\n    return a + b",
        "test_list": ["assert add(1, 2) == 3", "assert add(2, Z) == 4"], "test_setup_code": "Z = 2",
        "challenge_test_list": [],
    }
]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "answers", "grader", "domain"),
    [
        (GSM8K, ["5", "1,000"], "math", "math"),
        (MATH, ["2", "\\frac{1}{2}"], "math", "math"),
        (DEEPSCALER, ["\\frac{3}{4}"], "math", "math"),
        (DAPO, ["34"], "math", "math"),
        (DAPO_PLAIN, ["34"], "math", "math"),
        (VERL_GSM8K, ["5"], "math", "math"),
    ],
)
@pytest.mark.parametrize("form", ["parquet", "jsonl", "jsonl.gz"])
def test_mathematics_is_known_by_its_columns(tmp_path, rows, answers, grader, domain, form):
    path = write(tmp_path / f"set.{form}", rows)
    pool = pool_of({"path": path})
    assert [row["answer"] for row in rows_of(pool)] == answers
    assert {(row["grader"], row["domain"]) for row in rows_of(pool)} == {(grader, domain)}


def write(path, rows):
    if path.name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.name.endswith(".csv"):
        pacsv.write_csv(pa.Table.from_pylist(rows), path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        with gzip.open(path, "wt") if path.name.endswith(".gz") else path.open("w") as file:
            file.write(text)
    return str(path)


def test_levels_written_out_are_numbers(tmp_path):
    pool = pool_of(write(tmp_path / "m.jsonl", MATH))
    assert pool.table["level"].to_pylist() == [2, None]


def test_a_worked_solution_is_taken_for_its_end_under_any_name(tmp_path):
    path = write(tmp_path / "g.jsonl", GSM8K)
    mapped = pool_of({"path": path, "grader": "math", "columns": {"prompt": "question", "answer": "answer"}})
    assert [row["answer"] for row in rows_of(mapped)] == ["5", "1,000"]
    whole = pool_of({"path": path, "grader": "exact", "columns": {"prompt": "question", "answer": "answer"}})
    assert rows_of(whole)[0]["answer"].endswith("#### 5"), "only mathematics has such answers"


def test_questions_with_plain_answers_are_another_data_set(tmp_path):
    path = write(tmp_path / "q.jsonl", [*GSM8K, {"question": "Capital?", "answer": "Paris"}])
    with pytest.raises(SourceError, match="no column 'prompt' for the prompt; it has question, answer"):
        pool_of({"path": path, "grader": "exact"})


def test_a_csv_keeps_every_answer_as_it_is_written(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        '\ufeffid,prompt,answer,weak,strong,level\n1,"a, ""b""\nc",007,.25,0.5,3\n2,d,1.0,,,\n',
        encoding="utf-8",
    )
    pool = pool_of({"path": str(path), "grader": "exact"})
    assert [(r["id"], r["prompt"][0]["content"], r["answer"]) for r in rows_of(pool)] == [
        ("1", 'a, "b"\nc', "007"),
        ("2", "d", "1.0"),
    ]
    assert (pool.weak[0], pool.strong[0], pool.table["level"].to_pylist()) == (0.25, 0.5, [3, None])
    tabs = tmp_path / "t.tsv"
    tabs.write_text("question\tanswer\nq\t#### 5\n")
    assert rows_of(pool_of(str(tabs)))[0]["answer"] == "5"
    path.write_text("prompt,answer\na,b\nc\n")
    with pytest.raises(SourceError, match=r"t\.csv .*Expected 2 columns, got 1"):
        pool_of({"path": str(path), "grader": "exact"})
    path.write_text("prompt,answer\na,b\nc,\n")
    with pytest.raises(SourceError, match=r"t\.csv, row 2: the answer is empty"):
        pool_of({"path": str(path), "grader": "exact"})


def test_a_damaged_gzip_is_named(tmp_path):
    path = write(tmp_path / "g.jsonl.gz", GSM8K * 500)
    (tmp_path / "g.jsonl.gz").write_bytes((tmp_path / "g.jsonl.gz").read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"g\.jsonl\.gz is damaged"):
        pool_of(path)


def test_kinds_follow_from_paths(tmp_path):
    (tmp_path / "rows").mkdir()
    write(tmp_path / "rows" / "a.parquet", GSM8K)
    assert len(pool_of(str(tmp_path / "rows"))) == 2
    sources = PoolConfig.model_validate(
        {"sources": ["openai/gsm8k", "s3://bucket/x/", {"generators": [{"name": "chain_sum"}]}]}
    ).sources
    assert [source.kind for source in sources] == ["huggingface", "parquet", "reasoning_gym"]
    for path, said in (
        ("./none", "no such folder"),
        (str(tmp_path), "several kinds|no file of a known kind"),
    ):
        (tmp_path / "rows" / "b.csv").write_text("a,b\n")
        with pytest.raises(ValueError, match=said):
            PoolConfig.model_validate({"sources": [path]})


def test_mbpp_becomes_tests_that_its_own_code_passes(tmp_path):
    pool = pool_of(write(tmp_path / "m.jsonl", MBPP))
    (row,) = rows_of(pool, "prompt", "answer", "grader", "solution")
    assert "assert add(1, 2) == 3" in row["prompt"][0]["content"]
    assert json.loads(row["answer"])["functional"].startswith("Z = 2\n")
    assert row["grader"] == "code"
    assert row["solution"].startswith("def add")


def test_several_accepted_answers_are_all_right(tmp_path):
    rows = [
        {"prompt": "Capital of the US?", "answer": ["Washington", "Washington, D.C."]},
        {"prompt": "Of France?", "answer": ["Paris"]},
        {"prompt": "Half?", "answer": ["1/2", "so $\\boxed{\\frac{1}{2}}$"]},
    ]
    pool = pool_of({"path": write(tmp_path / "a.jsonl", rows[:2]), "grader": "exact"})
    first, second = rows_of(pool)
    assert (first["grader"], second["grader"], second["answer"]) == ("any_of:exact", "exact", "Paris")
    grade = resolve(first["grader"])
    for said, reward in (("Washington, D.C.", 1.0), ("washington", 1.0), ("Paris", 0.0)):
        assert grade("", first["answer"], f"<answer>{said}</answer>").reward == reward
    (half,) = rows_of(pool_of({"path": write(tmp_path / "b.parquet", rows[2:]), "grader": "math"}))
    assert json.loads(half["answer"]) == ["1/2", "\\frac{1}{2}"]
    with pytest.raises(SourceError, match="the answer is null"):
        pool_of(
            {
                "path": write(tmp_path / "c.parquet", [{"prompt": "a", "answer": []}, rows[1]]),
                "grader": "exact",
            }
        )


@pytest.mark.parametrize(
    "gold", ["$$", "\\text{}", "%", "\\boxed{}", "$\\mathrm{ }$", "\\,", "\\%", "\\left.\\right."]
)
@pytest.mark.parametrize("grader", ["math", "exact", "0.9*math + 0.1*format_boxed"])
def test_an_answer_without_content_is_a_bad_row(tmp_path, gold, grader):
    path = write(tmp_path / "a.jsonl", [{"prompt": "a", "answer": "1"}, {"prompt": "b", "answer": gold}])
    with pytest.raises(SourceError, match=r"line 2: the answer .* has no content"):
        pool_of({"path": path, "grader": grader})


def test_a_worked_solution_without_an_end_is_a_bad_row(tmp_path):
    rows = [{"question": "a", "answer": "#### 1"}, {"question": "b", "answer": "2+2\n#### "}]
    with pytest.raises(SourceError, match="line 2: nothing stands after the answer's ####"):
        pool_of(write(tmp_path / "a.jsonl", rows))


@pytest.mark.parametrize(
    "gold", ["\\{\\}", "\\emptyset", "()", "-", "\\text{blue}", "0", "x", "\\infty", "50%", "π"]
)
def test_short_answers_with_content_stay(tmp_path, gold):
    path = write(tmp_path / "a.jsonl", [{"prompt": "b", "answer": gold}])
    assert rows_of(pool_of({"path": path, "grader": "math"}))[0]["answer"] == gold


def repeated(times, name="math__aime_repeated_8x", tasks=3):
    base = GURU_ROWS[0]
    return [
        base
        | {
            "data_source": name,
            "prompt": [{"content": f"What is {task}+1?", "role": "user"}],
            "reward_model": {"ground_truth": str(task + 1), "style": "rule"},
            "extra_info": {"index": index, "split": "test"},
        }
        for index in range(times)
        for task in range(tasks)
    ]


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        (repeated(8), 3),
        (repeated(8)[:-1], 3),
        (repeated(1)[:1] * 8, 1),
        (repeated(100, name="math_dapo"), 3),
    ],
)
def test_a_set_that_repeats_its_tasks_loads_with_each_once(tmp_path, rows, kept, caplog):
    with caplog.at_level("INFO"):
        pool = pool_of(write(tmp_path / "aime.parquet", rows))
    assert len(pool) == kept
    assert f"{len(rows) - kept} repeats of others left out" in caplog.text


def test_some_duplicates_are_still_a_fault(tmp_path):
    rows = repeated(2, name="math__amc")
    with pytest.raises(SourceError, match="occurs more than once"):
        pool_of(write(tmp_path / "a.parquet", rows[:-1]))
    several = [{"id": "x", "prompt": f"{i}?", "answer": "1"} for i in (1, 2)] * 2
    several += [{"id": "y", "prompt": "3?", "answer": "1"}] * 4
    with pytest.raises(SourceError, match="id 'x' occurs more than once"):
        pool_of({"path": write(tmp_path / "b.parquet", several), "grader": "exact"})


def test_all_of_gsm8k(test_data):
    pool = pool_of(str(test_data / "gsm8k" / "train.jsonl"))
    assert len(pool) == 7473
    answers = [row["answer"] for row in rows_of(pool, "answer")]
    assert all(answer.replace(",", "").replace("-", "").replace(".", "").isdigit() for answer in answers)
    assert len(pool_of(str(test_data / "gsm8k" / "test.jsonl"))) == 1319


def test_all_of_humaneval(test_data):
    pool = pool_of(str(test_data / "humaneval" / "HumanEval.jsonl.gz"))
    rows = rows_of(pool, "id", "prompt", "answer", "grader", "solution")
    assert len(rows) == 164
    assert rows[0]["id"] == "HumanEval/0"
    assert {row["grader"] for row in rows} == {"code"}
    helper = next(row for row in rows if row["id"] == "HumanEval/32")
    tests = json.loads(helper["answer"])
    assert "def poly" in tests["prefix"], "what the prompt defines beside the asked function"
    assert tests["functional"].endswith("check(find_zero)")
    compile(helper["solution"], "solution", "exec")


def test_a_csv_row_of_megabytes_is_read(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("prompt,answer\n" + "a" * 3_000_000 + ",1\n")
    config = PoolConfig.model_validate({"sources": [{"path": str(path), "grader": "exact"}]})
    assert len(read_pool(config).take([0], ["prompt"])[0]["prompt"][0]["content"]) == 3_000_000
