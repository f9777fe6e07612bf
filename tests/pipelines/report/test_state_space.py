"""The report on a run with the state-space belief: cells over time, drift, predictions by age."""

from __future__ import annotations

import json

import pytest

from pipelines.report import main
from pipelines.report.beliefs import by_age
from tests.pipelines.browser import CHROMIUM, browser
from tests.pipelines.report.contents import data_of
from tests.pipelines.small_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Twelve steps of eight tasks."""
    overrides = ("selection.belief=state_space", "selection.cooldown=0")
    return make_run(tmp_path_factory.mktemp("run"), overrides=overrides)


def test_cells_and_drifts_are_recorded_at_every_step(run):
    metrics = data_of(run)["runs"][0]["metrics"]
    cells = [key for key in metrics if key.startswith("posterior/belief/cell_mean/")]
    assert 4 <= len(cells) <= 16
    for key in cells:
        assert len(metrics[key]["y"]) == 12
        assert all(0 < value < 1 for value in metrics[key]["y"])
        assert min(metrics[key.replace("cell_mean", "cell_sd")]["y"]) > 0
    assert len(metrics["posterior/belief/drift_cell"]["y"]) == 12


def test_predictions_by_age_are_those_of_the_selected_tasks(run):
    shown = data_of(run)["runs"][0]
    assert sum(point["tasks"] for point in shown["by_age"]) == 12 * 8
    assert shown["by_age"][0]["age"] == "never"
    assert len(shown["by_age"]) > 1, "some tasks were selected again"
    assert all(point["low"] <= point["observed"] <= point["high"] for point in shown["by_age"])
    # For a run that did not record them, the replay provides them, with the same counts.
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    old = [{key: value for key, value in line.items() if "beliefs/age" not in key} for line in lines]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    again = data_of(run)["runs"][0]["by_age"]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert by_age(old) is None
    assert [(p["age"], p["tasks"]) for p in again] == [(p["age"], p["tasks"]) for p in shown["by_age"]]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to show the page in; apt install chromium")
def test_the_page_draws_them(run, tmp_path):
    assert main([str(run), "--output", str(tmp_path / "report.html")]) == 0
    with browser(tmp_path / "profile") as shown:
        shown.open(tmp_path / "report.html")
        figures = "[...document.querySelectorAll('figure')].filter((f) => f.querySelector('svg'))"
        title = "f.querySelector('h3').textContent"
        titles = shown.value(f"{figures}.map((f) => {title})")
        assert {"Cells over time", "Drift coefficients", "Predictions by age"} <= set(titles)
        cells = f"{figures}.find((f) => {title} === 'Cells over time')"
        assert shown.value(f"{cells}.querySelectorAll('path[fill-opacity]').length") >= 4
        assert shown.complaints == []
