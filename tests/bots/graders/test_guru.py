"""The graders of GURU's other domains, on rows in the shapes that its preparation writes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bots.graders import code, resolve
from bots.graders.golds import gold_completion
from bots.graders.workers import Workers
from bots.pool import TaskPool
from bots.sandbox import Limits
from bots.sources import PoolConfig, read_pool
from pipelines.shared.golds import check_golds
from tests.bots.graders.guru_pairs import ROWS, Row


def pool_of(path: Path) -> TaskPool:
    return read_pool(PoolConfig.model_validate({"sources": [{"kind": "parquet", "path": str(path)}]}))


EACH = [
    pytest.param(name, row, id=f"{name}-{i}") for name, rows in ROWS.items() for i, row in enumerate(rows)
]


@pytest.fixture(autouse=True)
def _short_programs() -> Iterator[None]:
    code.configure(code.CodeOptions(Limits(cpu_seconds=1, wall_seconds=2.0)))
    yield
    code.configure(code.CodeOptions())


@pytest.mark.parametrize(("name", "row"), EACH)
def test_right_and_wrong(name: str, row: Row) -> None:
    grade = resolve(name)
    refused = [said for said in row.right if grade(row.prompt, str(row.answer), said).reward != 1.0]
    accepted = [said for said in row.wrong if grade(row.prompt, str(row.answer), said).reward != 0.0]
    assert (refused, accepted) == ([], [])


@pytest.mark.parametrize(
    ("name", "answer"),
    [("codeio", "42"), ("codeio", '"output": '), ("cruxeval", '{"functional": "def f(): pass"}'), ("cruxeval", "f"),
     ("stem", "Paris"), ("stem", "")],
)  # fmt: skip
def test_an_answer_at_fault_is_told(name: str, answer: str) -> None:
    with pytest.raises(ValueError, match=r"answer|prompt"):
        resolve(name)("", answer, "```json\n42\n```")


def test_files_as_guru_has_them_load_and_their_answers_are_right_by_their_own_graders(tmp_path) -> None:
    for place, rows in enumerate(ROWS.values()):
        table = {
            "data_source": [row.data_source for row in rows],
            "prompt": [[{"role": "user", "content": row.prompt or "Which?"}] for row in rows],
            "reward_model": [{"style": "rule", "ground_truth": str(row.answer)} for row in rows],
        }
        pq.write_table(pa.table(table), tmp_path / f"{place}.parquet")
    pool = pool_of(tmp_path)
    assert sorted(pool.domains) == ["simulation", "stem", "table"]
    assert sorted(pool.table["grader"].unique().to_pylist()) == ["codeio", "cruxeval", "stem", "table"]
    with Workers(1, time_limit=60.0, graders=["codeio", "cruxeval", "stem", "table"]) as workers:
        found = check_golds(pool, workers)
    assert sum(check.checked for check in found.values()) == sum(map(len, ROWS.values())) - 2
    assert (
        sum(check.untold for check in found.values()) == 2
    )  # inputs of cruxeval, which only a search would find
    assert [
        fault for check in found.values() for fault in (*check.refused, *check.ungraded, *check.accepted)
    ] == []


def test_finqa_has_numbers_for_answers(tmp_path) -> None:
    rows = {
        "data_source": ["table__finqa"] * 2,
        "prompt": [[{"role": "user", "content": question}] for question in ("a", "b")],
        "reward_model": [{"style": "rule", "ground_truth": value} for value in (0.1256, 380.0)],
    }
    pq.write_table(pa.table(rows), tmp_path / "finqa.parquet")
    answers = pool_of(tmp_path).table["answer"].to_pylist()
    assert [resolve("table")("", answer, f"\\boxed{{{answer}}}").reward for answer in answers] == [1.0, 1.0]
    assert resolve("table")("", answers[1], "\\boxed{380}").reward == 1.0


def test_repeated_evaluation_files_load_once(tmp_path) -> None:
    rows = {
        "data_source": ["math__aime_repeated_8x"] * 16,
        "prompt": [[{"role": "user", "content": f"What is {n // 8}?"}] for n in range(16)],
        "reward_model": [{"style": "rule", "ground_truth": str(n // 8)} for n in range(16)],
    }
    pq.write_table(pa.table(rows), tmp_path / "aime.parquet")
    pool = pool_of(tmp_path)
    assert pool.table["answer"].to_pylist() == ["0", "1"]


def test_webinstruct_is_for_the_judge(tmp_path) -> None:
    rows = {
        "data_source": ["stem_web"],
        "prompt": [
            [{"role": "user", "content": "Please output the final answer within \\boxed{}. What is it?"}]
        ],
        "reward_model": [{"ground_truth": "A catalyst"}],
        "extra_info": [{"idx": 1, "category": "Chemistry"}],
    }
    pq.write_table(pa.table(rows), tmp_path / "web.parquet")
    pool = pool_of(tmp_path)
    assert pool.domains == ("stem",)
    assert pool.table["grader"].to_pylist() == ["judge"]
    assert gold_completion("judge", "A catalyst") == "\\boxed{A catalyst}"
    assert json.dumps(pool.take([0], ["answer"])[0]["answer"]) == '"A catalyst"'
