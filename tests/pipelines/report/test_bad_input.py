"""Bad input of the report: every fault names the file and the way out."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.report import main
from tests.pipelines.small_run import make_run


def test_bad_input_is_refused_with_the_way_out(runs, tmp_path, capsys):
    def refused(*arguments):
        assert main([str(argument) for argument in arguments]) == 2
        return capsys.readouterr().err

    assert f"there is no run at {tmp_path / 'nowhere'}" in refused(tmp_path / "nowhere")
    assert "is not a run's folder" in refused(tmp_path)
    assert str(runs[0]) in refused(runs[0].parent), "the runs that lie in a folder are named"
    assert "is given twice" in refused(runs[0], runs[0])
    assert "name a file" in refused(runs[0], "--output", tmp_path)
    assert "there is no folder" in refused(runs[0], "--output", tmp_path / "no" / "where.html")
    other = make_run(tmp_path, name="other", overrides=("evaluation.samples=5",))
    said = refused(runs[0], other)
    assert "cannot be compared" in said
    assert "evaluation.samples is 2 and 5" in said
    (other / "metrics.jsonl").write_text('{"step": 0}\nnonsense\n')
    assert "line 2 of" in refused(other)


def test_no_place_to_write_to_is_found_out_before_the_page_is_made(runs, capsys, monkeypatch):
    monkeypatch.setattr("pipelines.report.sections.build", lambda settings: pytest.fail("it was made"))
    # Where nobody, not even root, may create a file.
    assert main([str(runs[0]), "--output", "/proc/report.html"]) == 2
    said = capsys.readouterr().err
    assert "/proc/report.html cannot be written" in said
    assert "name another file with --output" in said


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.yaml", b"run: [", "cannot be read, or is damaged"),
        ("config.yaml", b"run: {name: \xff}", "cannot be read, or is damaged"),
        ("config.yaml", b"run:\nselection: {}\n", "has no run.name or no number run.steps"),
        ("config.yaml", b"run: {name: a, steps: many}", "has no run.name or no number run.steps"),
        ("config.yaml", b"run: {name: a, steps: 3}\nevaluation:\n", "evaluation is None, not a section"),
        ("metrics.jsonl", b"\xff\xfe\n", "cannot be read, or is damaged"),
        ("summary.json", b"[1]", "is not a run's summary"),
        ("summary.json", b"\xff", "cannot be read, or is damaged"),
        ("pool.arrow", b"not Arrow", "cannot be read, or is damaged"),
        ("pool.arrow", b"", "cannot be read, or is damaged"),
        ("posterior/beliefs.arrow", b"not Arrow", "cannot be read, or is damaged"),
        ("rollouts/000001.parquet", b"not Parquet", "cannot be read, or is damaged"),
        ("rollouts/000012.parquet", b"not Parquet", "cannot be read, or is damaged"),
        ("evaluation/000012.parquet", b"not Parquet", "cannot be read, or is damaged"),
        ("ledger.jsonl", b'{"event": "selected"}\n', "line 1 of"),
        ("ledger.jsonl", b"[1]\n", "line 1 of"),
        ("ledger.jsonl", b"\xff\n", "cannot be read, or is damaged"),
    ],
)
def test_a_damaged_file_is_named(runs, tmp_path, capsys, file, content, said):
    copy = shutil.copytree(runs[0], tmp_path / "copy")
    assert (copy / file).exists() or file == "ledger.jsonl"
    (copy / file).write_bytes(content)
    assert main([str(copy)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert str(copy / Path(file).parent) in err
    assert Path(file).name in err


@pytest.mark.parametrize(
    "file", ["config.yaml", "metrics.jsonl", "summary.json", "evaluation/000012.parquet"]
)
def test_a_file_that_may_not_be_read_is_named(runs, tmp_path, capsys, monkeypatch, file):
    denied = shutil.copytree(runs[0], tmp_path / "copy") / file

    def guarded(read):
        def reads(path, *arguments, **options):
            if path == denied:
                raise PermissionError(13, "Permission denied", str(path))
            return read(path, *arguments, **options)

        return reads

    for owner, name in ((Path, "read_text"), (Path, "read_bytes"), (pq, "read_table")):
        monkeypatch.setattr(owner, name, guarded(getattr(owner, name)))
    assert main([str(tmp_path / "copy")]) == 2
    assert f"{denied} cannot be read" in capsys.readouterr().err
