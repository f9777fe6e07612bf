"""A data file can't choose which function runs outside the sandbox: the configuration names those it may."""

import json
import sys

import pytest

from bots.config.pool import PoolConfig
from bots.sources import SourceError, read_pool

HOSTILE = [
    "os:system",
    "trap:grade",
    "any_of:trap:grade",
    "0.5*trap:grade + 0.5*exact",
    "any_of:any_of:trap:grade",
]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes two rows, of which the second names a grader of a module that says if it is imported."""
    (tmp_path / "trap.py").write_text(
        "import builtins\nbuiltins.trapped = True\ndef grade(p, a, c): return 1.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "trap", raising=False)
    monkeypatch.delattr("builtins.trapped", raising=False)

    def write(grader):
        rows = [
            {"prompt": "1", "answer": "1", "grader": "exact"},
            {"prompt": "2", "answer": "2", "grader": grader},
        ]
        (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / "tasks.jsonl")

    return write


@pytest.mark.parametrize("grader", HOSTILE)
def test_a_function_that_the_file_alone_names_is_neither_called_nor_imported(file, grader):
    with pytest.raises(
        SourceError, match=r"tasks.jsonl.*2.*outside the sandbox.*set the pool's `graders: \['"
    ):
        read_pool(PoolConfig(sources=[file(grader)]))
    assert "trap" not in sys.modules
    lenient = read_pool(PoolConfig(sources=[{"path": file(grader), "bad_rows": 0.5}]))
    assert lenient.table["grader"].to_pylist() == ["exact"]
    assert "trap" not in sys.modules


@pytest.mark.parametrize("grader", HOSTILE[1:])
def test_what_the_configuration_names_may_be_used(file, grader):
    assert len(read_pool(PoolConfig(sources=[file(grader)], graders=("trap:grade",)))) == 2
    named = {"path": file(grader), "grader": "trap:grade"}
    assert set(read_pool(PoolConfig(sources=[named])).table["grader"].to_pylist()) == {"trap:grade"}


def test_the_setting_is_checked(file):
    with pytest.raises(ValueError, match="unknown grader 'nonsense'"):
        PoolConfig(sources=[file("exact")], graders=("nonsense",))


def test_a_missing_function_that_the_configuration_allows_is_named(file):
    with pytest.raises(SourceError, match="no function 'gone'"):
        read_pool(PoolConfig(sources=[file("trap:gone")], graders=("trap:gone",)))
