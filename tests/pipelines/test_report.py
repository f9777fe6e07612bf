"""The report: its figures from real-format folders, and its page in a real browser."""

import json
import re
import shlex
import shutil
import xml.etree.ElementTree as ET
from glob import glob
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
import yaml

from bots.rollouts.ledger import audit
from pipelines.cli import main as bots
from pipelines.report import main
from pipelines.report.page import to_json
from pipelines.report.run import read_run
from pipelines.report.sections import build
from pipelines.report.settings import group, read_runs
from tests.pipelines.browser import CHROMIUM, browser
from tests.pipelines.small_run import make_run

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "report.md"
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium to show the page in; apt install chromium"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two settings with two seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(folder, name=f"{selector}-{seed}", selector=selector, seed=seed)
        for selector in ("bots", "random")
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    """The report on all four runs."""
    output = tmp_path_factory.mktemp("page") / "report.html"
    assert main([*map(str, runs), "--output", str(output)]) == 0
    return output


def data_of(*folders):
    return json.loads(to_json(build(group(read_runs(list(folders))))))


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


def test_hostile_text_stays_data(page):
    text = page.read_text()
    assert text.count("<script") == 2, "the data and the page's own script"
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL).group(1)
    assert "<" not in data
    assert "\u202e" not in data
    assert "@DATA@" in json.dumps(json.loads(data)["runs"][0]["cards"])
    assert not re.search(r'(src|href)="https?://', text)


def test_commands_of_the_page_in_the_documentation_run(tmp_path, monkeypatch, capsys):
    for name in ("lab", "demo/bots", "demo/random", "seeds/a", "seeds/b"):
        folder, _, last = name.rpartition("/")
        make_run(tmp_path / "runs" / folder, name=last, steps=2)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^    bots ((?:report|watch) [^#\n]*)", DOCUMENTATION.read_text(), re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        # Like a shell: patterns expand to the paths they match.
        words = [path for word in shlex.split(command) for path in sorted(glob(word)) or [word]]
        assert bots(words) == 0, capsys.readouterr().err
    assert (tmp_path / "runs" / "lab" / "report.html").exists()


@needs_chromium
def test_page_in_a_browser(page, tmp_path):
    with browser(tmp_path / "profile") as shown:
        shown.open(page)
        assert "owned" not in shown.value("document.title")
        assert shown.value("document.querySelectorAll('img').length") == 0
        figures = "[...document.querySelectorAll('figure')]"
        assert shown.value(f"{figures}.every((f) => f.querySelector('svg') || f.querySelector('.missing'))")
        # Sorting: by belief, descending, then ascending.
        rows = "[...document.querySelectorAll('#tasks-table tbody tr')]"
        heads = "[...document.querySelectorAll('#tasks-table th button')]"
        press = f"{heads}.find((b) => b.textContent === 'belief').click()"
        beliefs = f"{rows}.map((row) => Number(row.lastChild.textContent))"
        shown.value(press)
        falling = shown.value(beliefs)
        shown.value(press)
        rising = shown.value(beliefs)
        assert falling == sorted(falling, reverse=True)
        assert rising == sorted(rising)
        assert rising[0] < falling[0]
        # Filtering: by part of the id.
        shown.value("document.getElementById('task-filter').focus()")
        shown.call("Input.insertText", text="LAB/MATH")
        found = shown.value(f"{rows}.map((row) => row.firstChild.textContent)")
        assert found
        assert all(task.startswith("lab/math/") for task in found)
        # Another x-axis, another run.
        switch = "[...document.querySelectorAll('#learning .switch button')]"
        shown.value(f"{switch}.find((b) => b.textContent === 'tokens').click()")
        assert "generated tokens" in shown.value("document.querySelector('#learning svg').textContent")
        choose = "s.value = 3, s.dispatchEvent(new Event('change'))"
        shown.value(f"((s) => ({choose}))(document.getElementById('run'))")
        assert shown.value("document.querySelector('.which').textContent") == "random-1"
        # Hide a line by its legend; read the values at a point with the keyboard.
        lines = "document.querySelectorAll('#learning figure svg path').length"
        before = shown.value(lines)
        shown.value("document.querySelector('#learning .legend button').click()")
        assert shown.value(lines) < before
        shown.value("document.querySelector('#learning svg rect[tabindex]').focus()")
        tip = "document.querySelector('.tip').textContent"
        last = shown.value(tip)
        shown.press("ArrowLeft")
        assert shown.value(tip) != last
        assert "generated tokens" in last
        # A figure saved for a paper contains its colours.
        keep = "URL.createObjectURL = (blob) => (window.saved = blob, make(blob))"
        shown.value(f"((make) => {{ {keep}; }})(URL.createObjectURL)")
        shown.value("document.querySelector('#learning .save').click()")
        picture = shown.value("await window.saved.text()")
        assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
        assert "stroke:rgb(194, 87, 26)" in picture
        assert [url for url in shown.requests if not url.startswith(("file:", "data:", "blob:null/"))] == []
        assert shown.complaints == []


@needs_chromium
def test_page_in_dark_on_a_phone_and_on_paper(page, tmp_path):
    background = "getComputedStyle(document.body).backgroundColor"
    with browser(tmp_path / "profile") as shown:
        shown.open(page)
        light = shown.value(background)
        shown.open(page, dark=True)
        dark = shown.value(background)
        assert light != dark
        for expected in (light, dark):  # auto → light → dark
            shown.value("document.getElementById('theme').click()")
            assert shown.value(background) == expected
        shown.open(page, width=390, height=800)
        assert shown.value("document.documentElement.scrollWidth") <= 390, (
            "nothing sticks out of a phone's screen"
        )
        shown.screenshot(tmp_path / "phone.png")
        assert shown.pdf(tmp_path / "page.pdf").startswith(b"%PDF")
        assert shown.complaints == []


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
