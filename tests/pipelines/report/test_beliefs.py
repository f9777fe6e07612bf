"""The beliefs in the report: from the run's own record, or from a replay that reaches the run's own beliefs."""

import json
import shutil

import numpy as np
import pyarrow.ipc as ipc
import pytest

from bots.rollouts.ledger import audit
from tests.pipelines.report.contents import data_of
from tests.pipelines.small_run import make_run


def test_replayed_beliefs_are_those_that_the_run_wrote(runs):
    run = data_of(runs[0])["runs"][0]
    beliefs = ipc.open_file(runs[0] / "posterior" / "beliefs.arrow").read_all()
    mean = np.divide(beliefs["alpha"], np.add(beliefs["alpha"], beliefs["beta"]))
    counted = np.histogram(mean, bins=20, range=(0, 1))[0]
    assert run["heat"]["columns"][-1]["pool"] == counted.tolist()
    assert sum(sum(c["selected"] or []) for c in run["heat"]["columns"]) == 12 * 8
    assert sum(point["tasks"] for point in run["calibration"]["whole run"]) == 12 * 8
    last = dict(zip(run["table"]["columns"]["id"], run["table"]["columns"]["belief"], strict=True))
    place = beliefs["id"].to_pylist().index(run["table"]["columns"]["id"][0])
    assert last[run["table"]["columns"]["id"][0]] == pytest.approx(mean[place], abs=1e-3)


def test_beliefs_of_a_run_that_generated_ahead(tmp_path):
    ahead = make_run(tmp_path, name="ahead", steps=12, ahead=True)
    audit(ahead / "ledger.jsonl")  # the ledger that the test wrote is one as the coordinator writes it
    recorded = data_of(ahead)["runs"][0]
    assert recorded["quality"] is not None, "the replay comes to the run's own beliefs"
    lines = [json.loads(line) for line in (ahead / "metrics.jsonl").read_text().splitlines()]
    assert all(sum(line["beliefs/selected"]) == 8 for line in lines[1:]), "both waves of a batch are counted"
    (ahead / "metrics.jsonl").write_text("".join(json.dumps(_unrecorded(line)) + "\n" for line in lines))
    replayed = data_of(ahead)["runs"][0]
    assert replayed["beliefs_from"] == "a replay of the recorded rewards"
    for part, points in recorded["calibration"].items():
        assert [p["tasks"] for p in points] == [p["tasks"] for p in replayed["calibration"][part]]
        for point, again in zip(points, replayed["calibration"][part], strict=True):
            assert point == pytest.approx(again, abs=1e-3)


def test_beliefs_are_shown_from_the_runs_own_record_where_it_kept_no_answers(runs, tmp_path):
    kept = data_of(runs[0])["runs"][0]
    bare = data_of(make_run(tmp_path, name="bare", keep=False))["runs"][0]
    assert bare["beliefs_from"] == "the run's own record"
    columns = {column["step"]: column["pool"] for column in kept["heat"]["columns"]}
    assert [column["step"] for column in bare["heat"]["columns"]] == [0, 4, 8, 12]
    assert all(column["pool"] == columns[column["step"]] for column in bare["heat"]["columns"])
    assert [p["tasks"] for p in bare["calibration"]["whole run"]] == [
        p["tasks"] for p in kept["calibration"]["whole run"]
    ]


def _unrecorded(line):
    """A line from a version that did not write beliefs."""
    return {name: value for name, value in line.items() if not name.startswith("beliefs/")}


def test_beliefs_that_a_replay_does_not_reach_are_not_shown(runs, tmp_path):
    copy = shutil.copytree(runs[0], tmp_path / "copy")
    (copy / "rollouts" / "000005.parquet").unlink()
    lines = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    (copy / "metrics.jsonl").write_text("".join(json.dumps(_unrecorded(line)) + "\n" for line in lines))
    run = data_of(copy)["runs"][0]
    assert "the beliefs differ from the run's own by" in run["heat"]
    assert "the beliefs differ" in run["calibration"]
