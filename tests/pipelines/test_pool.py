"""`bots pool`: problems with a pool are found before anyone pays for a run."""

import io
import json

import pyarrow as pa
import pytest
import yaml
from rich.console import Console

from bots.config.pool import PoolConfig
from bots.graders.golds import gold_completion
from bots.graders.registry import resolve
from bots.graders.workers import Workers
from bots.pool import TaskPool
from bots.sources import read_pool
from pipelines.pool import load_job, look, main
from pipelines.pools.survey import survey
from pipelines.pools.terminal import bars
from pipelines.shared.golds import check_golds, look_at_golds

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


def job_of(tmp_path, rows, model="lab:base", **source):
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tree = {"pool": {"sources": [{"path": str(tmp_path / "tasks.jsonl"), **source}]}}
    if model:
        tree["model"] = {"path": model}
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump(tree))
    return str(tmp_path / "pool.yaml")


def looked(path, tmp_path, sample=None):
    out = io.StringIO()
    job = load_job(path, [], tmp_path / "page.html")
    (found,) = look(job, Console(file=out, width=120), sample)
    return found, out.getvalue(), (tmp_path / "page.html").read_text()


def test_a_source_without_a_good_row_is_refused(tmp_path, capsys):
    rows = [{"prompt": f"{i}+1=", "answer": str(i + 1), "grader": "nowhere:grade"} for i in range(2)]
    assert main([job_of(tmp_path, rows), "--page", str(tmp_path / "page.html")]) in (1, 2)
    assert "nowhere:grade" in capsys.readouterr().err


def test_domains_are_in_natural_order():
    table = pa.table({"domain": ["level 10", "level 2", "level 1"], "grader": ["exact"] * 3})
    assert list(survey("pool", TaskPool.from_arrow(table), []).tasks) == ["level 1", "level 2", "level 10"]


def test_all_that_there_is_to_know_of_a_pool(tmp_path):
    rows = [
        {
            "id": f"t{i}",
            "prompt": f"{i}+1=",
            "answer": str(i + 1),
            "weak": i / 20,
            "strong": 1 - i / 20,
            "level": i % 3,
        }
        for i in range(20)
    ]
    rows[7]["answer"] = ""
    rows[8]["weak"] = 2
    found, told, page = looked(job_of(tmp_path, rows, grader="exact", domain="sums"), tmp_path)
    assert found.tasks == {"sums": 18}
    assert dict(found.reports[0].dropped) == {
        ("sums", "the answer is empty"): 1,
        ("sums", "weak is …; a pass rate is in […, …]"): 1,
    }
    assert "2 of 20 rows are bad, and `bad_rows` allows a share of 0" in found.refused[0]
    assert found.lengths["sums"].quantiles == (5, 6, 6, 6)
    assert [prompt.text for prompt in found.prompts] == ["<bos>0+1=", "<bos>1+1=", "<bos>2+1="]
    assert found.ends == "a completion ends with the tokenizer's '<eos>'"
    assert found.rates["sums"].known == 18
    assert sum(found.rates["sums"].weak) == 18
    check = found.golds["sums"]
    assert (check.checked, check.failed, check.neighbours, check.accepted) == (18, 0, 17, [])
    for text in (told, page):
        assert "the answer is empty" in text
        assert "18 of 18" in text
        assert "<eos>" in text or "&lt;eos&gt;" in text
    assert page.count("<rect") == 20


def test_tests_without_a_solution_are_counted_apart(tmp_path):
    rows = [
        {"id": "a", "prompt": "1", "answer": "4", "grader": "exact"},
        {"id": "b", "prompt": "p", "answer": '[{"in": {}, "out": 1}]', "grader": "lab_code"},
    ]
    found, told, _ = looked(job_of(tmp_path, rows, model=None), tmp_path)
    assert (found.golds["default"].checked, found.golds["default"].untold) == (1, 1)
    assert "1 have tests and no solution to try them with" in told


def test_a_grader_that_takes_another_answer_for_right_is_told(tmp_path, monkeypatch):
    (tmp_path / "lax.py").write_text(
        "from bots.graders.base import Grade\n"
        "def grade(prompt, answer, completion):\n"
        "    return Grade(float(answer[0] in completion), f'looks for {answer[0]}')\n"
        "def as_completion(answer):\n"
        "    return answer\n"
        "def never(prompt, answer, completion):\n"
        "    return Grade(0.0, 'never right')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    rows = [
        {"id": f"t{i}", "prompt": "p" + str(i), "answer": a} for i, a in enumerate(["12", "1", "312", "45"])
    ]
    found, told, _ = looked(job_of(tmp_path, rows, model=None, grader="lax:grade"), tmp_path)
    check = found.golds["default"]
    assert [task for task, _ in check.alike] == ["t1"], "12 and 1 begin with the same"
    assert [task for task, _ in check.accepted] == []
    assert "t1: takes '12' of t0 for '1'" in told
    found, told, _ = looked(job_of(tmp_path, rows, model=None, grader="lax:never"), tmp_path)
    assert found.golds["default"].failed == 4
    assert "not right: t0: never right" in told
    assert (
        main([job_of(tmp_path, rows, model=None, grader="lax:never"), "--page", str(tmp_path / "p.html")])
        == 1
    )


def test_a_task_s_text_is_text_in_the_page(tmp_path):
    rows = [{"id": HOSTILE, "prompt": HOSTILE, "answer": HOSTILE}]
    _, _, page = looked(job_of(tmp_path, rows, model=None, grader="exact", domain=HOSTILE), tmp_path)
    assert "<script" not in page
    assert "<img" not in page
    assert "default-src 'none'" in page


def test_a_tokenizer_that_does_not_fit_is_told(tmp_path):
    rows = [{"prompt": "Hallo", "answer": "1"}]
    found, _, _ = looked(job_of(tmp_path, rows, grader="exact"), tmp_path)
    assert "doesn't fit this pool" in found.refused[0]


def test_a_train_configuration_has_both_of_its_pools(small_job, tmp_path, capsys):
    from tests.pipelines.conftest import LAB

    overrides = ["pool.sources.0.size=60", "evaluation.pool.sources.0.size=30", f"run.folder={tmp_path}"]
    assert main([str(LAB), *overrides, "--sample", "20"]) == 0
    told = capsys.readouterr().out
    assert "pool: 60 tasks" in told
    assert "evaluation.pool: 30 tasks" in told
    assert (tmp_path / "lab.pool.html").exists()


def test_a_starting_run_looks_at_a_few_answers():
    def pool(answers, grader):
        return TaskPool.from_arrow(
            pa.table(
                {
                    "prompt": [str(i) for i in range(len(answers))],
                    "answer": answers,
                    "grader": [grader] * len(answers),
                }
            )
        )

    assert look_at_golds(pool([str(i) for i in range(100)], "exact")) == []
    (told,) = look_at_golds(pool(["</answer>"] * 9, "exact"))
    assert "of 8 reference answers tried are not right by their own grader exact" in told


@pytest.mark.parametrize(
    ("grader", "answer"),
    [
        ("math", "\\frac{1}{2}"), ("exact", "Paris"), ("logic", '["Ann", "Bob"]'), ("logic", "[[1, 0], [0, 1]]"),
        ("lab_math", "42"), ("lab_logic", "ACB"), ("any_of:exact", '["a", "b"]'), ("0.9*math + 0.1*format_boxed", "3"),
        ("0.5*math + 0.5*format_think", "3"), ("0.5*exact + 0.5*format_answer_tags", "x"),
    ],
)  # fmt: skip
def test_a_gold_is_a_right_completion(grader, answer):
    said = gold_completion(grader, answer)
    assert resolve(grader)("", answer, said).reward == pytest.approx(1.0)


def test_histograms_show_every_bin_that_has_a_task():
    assert bars([0, 1, 1000]) == " ▁█"


def test_gsm8k_s_answers_are_right_by_their_own_grader(test_data, tmp_path):
    tree = {"pool": {"sources": [str(test_data / "gsm8k" / "test.jsonl")]}}
    (tmp_path / "gsm.yaml").write_text(yaml.safe_dump(tree))
    found, _, _ = looked(str(tmp_path / "gsm.yaml"), tmp_path, sample=200)
    check = found.golds["math"]
    assert (check.checked, check.failed, check.accepted, check.alike) == (200, 0, [], [])


@pytest.mark.parametrize(
    "tests",
    [
        "[",
        "2",
        "[]",
        "null",
        json.dumps({"functional": "assert f([1) == 1"}),
        json.dumps({"functional": "assert f(1) == 1", "prefix": "def g(:"}),
        json.dumps({"functional": "assert " + "(" * 5000}),
        json.dumps({"functional": "assert f(1) == '\x00'"}),
        json.dumps({"inputs": ["1"], "outputs": []}),
        json.dumps({"fn_name": "not a name", "inputs": [[1]], "outputs": [1]}),
    ],
)
def test_broken_tests_without_a_solution_are_the_task_s_fault(tests, tmp_path):
    rows = [
        {
            "id": "good",
            "prompt": "p",
            "answer": json.dumps({"functional": "assert f(1) == 1"}),
            "grader": "code",
        },
        {"id": "bad", "prompt": "q", "answer": tests, "grader": "code"},
    ]
    config = PoolConfig(sources=[job_of(tmp_path, rows, model=None) and str(tmp_path / "tasks.jsonl")])
    with Workers(1) as workers:
        check = check_golds(read_pool(config), workers)["default"]
    assert (check.untold, check.failed) == (1, 1)
    assert check.ungraded[0][0] == "bad"
    assert "its tests are broken" in check.ungraded[0][1]


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "lab", "size": 10**9},
        {"kind": "reasoning_gym", "generators": [{"name": "gcd", "size": 10**9}]},
    ],
)
def test_a_size_that_would_run_for_hours_is_refused_in_one_line(source, tmp_path, capsys):
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"pool": {"sources": [source]}}))
    assert main([str(tmp_path / "pool.yaml"), "--page", str(tmp_path / "p.html")]) == 2
    assert "size: input should be less than or equal to" in capsys.readouterr().err
