"""Small copies of what users have: a GURU parquet file, JSON lines."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

GURU_ROWS = [
    {
        "data_source": "math__combined",
        "prompt": [{"content": "What is 2+3? Think.", "role": "user"}],
        "ability": "math",
        "reward_model": {"ground_truth": "5", "style": "rule"},
        "extra_info": {"index": 0, "split": "train"},
        "source": None,
        "domain": None,
        "llama8b_solve_rate": 0.5,
        "apply_chat_template": True,
        "is_unique": True,
        "solution": None,
        "qwen2.5_7b_pass_rate": 0.25,
        "qwen3_30b_pass_rate": 0.75,
    },
    {
        "data_source": "codegen__leetcode2k",
        "prompt": [{"content": "Write add.", "role": "user"}],
        "ability": "codegen",
        "reward_model": {"ground_truth": '{"functional": "assert add(1, 2) == 3"}', "style": "rule"},
        "extra_info": {"index": 7, "split": "train"},
        "source": "leetcode",
        "domain": "code",
        "llama8b_solve_rate": None,
        "apply_chat_template": True,
        "is_unique": True,
        "solution": "def add(a, b): return a + b",
        "qwen2.5_7b_pass_rate": None,
        "qwen3_30b_pass_rate": 1.0,
    },
    {
        "data_source": "simulation__arcagi1",
        "prompt": [{"content": "Be brief.", "role": "system"}, {"content": "Grid?", "role": "user"}],
        "ability": "logical_reasoning",
        "reward_model": {"ground_truth": "[[1, 0], [0, 1]]", "style": "rule"},
        "extra_info": {"index": 1, "split": "train"},
        "source": None,
        "domain": None,
        "llama8b_solve_rate": None,
        "apply_chat_template": True,
        "is_unique": None,
        "solution": None,
        "qwen2.5_7b_pass_rate": float("nan"),
        "qwen3_30b_pass_rate": 0.5,
    },
]


@pytest.fixture
def guru(tmp_path: Path) -> Path:
    path = tmp_path / "guru.parquet"
    pq.write_table(pa.Table.from_pylist(GURU_ROWS), path)
    return path


@pytest.fixture
def write_lines(tmp_path: Path):
    def write(*rows: object, name: str = "tasks.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return str(path)

    return write
