"""The contents of the report: curves, phases, tasks, engines, and sentences for what is missing."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.report.run import read_run
from tests.pipelines.report.contents import data_of
from tests.pipelines.small_run import make_run


def test_seeds_of_one_setting_become_one_line_with_a_band(runs):
    data = data_of(*runs)
    assert [s["label"] for s in data["settings"]] == ["bots", "random"]
    assert data["settings"][0]["differences"]["selection.selector"] == "bots"
    adaptors = [setting["differences"]["selection.adaptor"] for setting in data["settings"]]
    assert adaptors == ["predictive", "null"], "as one would write it on the command line"
    curves = next(c for c in data["curves"] if c["score"] == "score" and c["cost"] == "steps")
    line = curves["lines"][0]
    assert line["x"] == [0, 4, 8, 12]
    # Two seeds, .02·seed/10 apart: mean and t interval with one degree of freedom, 12.706 · s/√2.
    assert line["mean"][1] == pytest.approx(0.441)
    assert line["high"][1] - line["mean"][1] == pytest.approx(12.706 * 0.001, rel=1e-3)
    assert {row["cost"] for row in data["comparison"]["rows"]} == {"steps", "tokens", "seconds"}
    # Both settings have the same scores at the same steps.
    steps = next(row for row in data["comparison"]["rows"] if row["cost"] == "steps")
    assert steps["pairs"] == 2
    assert steps["cells"]["TTB 100%"]["mean"] == pytest.approx(1)


def test_domains_are_in_natural_order(runs, tmp_path):
    copy = shutil.copytree(runs[0], tmp_path / "copy")
    lines = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line |= {f"score/level {number}": 0.5 for number in (10, 1, 2) if "score" in line}
    (copy / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = [curve["score"] for curve in data_of(copy)["curves"] if curve["cost"] == "steps"]
    assert [name for name in scores if "level" in name] == [
        "score/level 1",
        "score/level 2",
        "score/level 10",
    ]


def test_phases_add_up_to_the_wall_clock(runs):
    phases = data_of(runs[0])["runs"][0]["phases"]
    totals = phases["totals"]
    assert totals["generate"] == pytest.approx(4.8)
    assert totals["other"] == pytest.approx(1.2)
    assert totals["outside"] == pytest.approx(5)
    assert sum(totals.values()) == pytest.approx(phases["wall"])
    assert phases["notes"] == []


def test_phases_that_do_not_add_up_are_said_to(runs, tmp_path):
    copy = shutil.copytree(runs[0], tmp_path / "copy")
    lines = (copy / "metrics.jsonl").read_text().replace('"seconds/learn": 0.3', '"seconds/learn": 0.9')
    (copy / "metrics.jsonl").write_text(lines)
    assert "more than the steps'" in data_of(copy)["runs"][0]["phases"]["notes"][0]


def test_a_run_that_is_going_or_was_cut_off_can_be_reported(tmp_path):
    going = make_run(tmp_path, name="going", steps=5, planned=50, ended=False)
    with (going / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "etr"')  # the run is in the middle of writing it
    run = data_of(going)["runs"][0]
    assert run["state"] == "still going"
    assert run["key"]["steps"] == 5
    assert "has not written its summary" in run["phases"]["notes"][0]
    assert run["table"]["belief_known"], "from the replay, as the run has not written them yet"
    early = make_run(tmp_path, name="early", steps=5, planned=50)
    assert read_run(early).state == "ended early"
    assert data_of(early)["runs"][0]["reason"] is None
    summary = json.loads((early / "summary.json").read_text()) | {"reason": "NoGraderError: none is left"}
    (early / "summary.json").write_text(json.dumps(summary))
    assert data_of(early)["runs"][0]["reason"] == "NoGraderError: none is left"


def test_missing_data_is_said_in_a_sentence(tmp_path):
    bare = make_run(tmp_path, name="bare", keep=False, evaluated=False)
    run = data_of(bare)["runs"][0]
    assert "run.keep_rollouts=true" in run["cards"]
    assert "run.keep_rollouts=true" in run["table"]
    fresh = make_run(tmp_path, name="fresh", steps=1, planned=9, ended=False)
    (fresh / "metrics.jsonl").unlink()
    run = data_of(fresh)["runs"][0]
    assert {run[key] for key in ("phases", "heat", "calibration", "cards", "table", "held_out")} == {
        "The run has not finished a step yet."
    }


def test_a_pool_that_is_gone_costs_the_prompts_only(runs, tmp_path):
    copy = shutil.copytree(runs[0], tmp_path / "copy")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["pool"]["sources"] = [{"kind": "parquet", "path": "gone.parquet"}]
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    cards = data_of(copy)["runs"][0]["cards"]
    assert "gone.parquet" in cards["missing"]
    assert cards["tasks"][0]["prompt"] is None
    assert cards["tasks"][0]["before"]["shown"]


def test_held_out_answers_of_the_first_and_the_last_evaluation_stand_side_by_side(runs, tmp_path):
    first, last = (
        pq.read_table(runs[0] / "evaluation" / f"{step:06d}.parquet").to_pandas() for step in (0, 12)
    )
    change = last.groupby("task")["reward"].mean() - first.groupby("task")["reward"].mean()
    shown = data_of(runs[0])["runs"][0]["held_out"]
    assert shown["counts"] == {"gained": (change > 0).sum(), "lost": (change < 0).sum(), "all": 30}
    best = shown["tasks"][shown["kinds"]["gained"][0]]
    assert change[best["id"]] == change.max()
    assert (best["before"]["step"], best["after"]["step"]) == (0, 12)
    assert best["prompt"], "read from the held-out pool"
    worst = shown["tasks"][shown["kinds"]["lost"][0]]
    assert change[worst["id"]] == change.min()
    once = shutil.copytree(runs[0], tmp_path / "once")
    for step in (4, 8, 12):
        (once / "evaluation" / f"{step:06d}.parquet").unlink()
    assert "kept no completions of two evaluations" in data_of(once)["runs"][0]["held_out"]


def test_engines_stand_side_by_side_and_an_idle_one_is_named(tmp_path):
    folder = make_run(tmp_path, name="uneven", steps=4)
    assert data_of(folder)["runs"][0]["engines"] is None, "engines without names are not guessed at"
    for file in (folder / "rollouts").glob("*.parquet"):
        table = pq.read_table(file)
        place = table.schema.get_field_index("engine")
        named = pa.array(["rollout-0"] * table.num_rows)
        pq.write_table(table.set_column(place, "engine", named), file)
    found = data_of(folder)["runs"][0]["engines"]
    assert [row["engine"] for row in found["rows"]] == ["rollout-0", "rollout-1"]
    assert [row["share"] for row in found["rows"]] == [1.0, 0.0]
    assert found["notes"] == ["rollout-1 is idle: it generated 0% of the tokens; an even share is 50%."]
