"""The demo without its training: what it refuses, and metrics that have no ratio."""

import json

import numpy as np

from bots.metrics import Curve
from pipelines import demo
from pipelines.report.comparison import RunCurves, compare, table


def curves(name, scores, etr):
    at = np.arange(len(scores), dtype=float)
    against = {cost: Curve(at, np.array(scores)) for cost in ("steps", "tokens", "seconds")}
    return RunCurves(name, against, np.array(etr), 0.01)


def cells(out):
    return {label: list(column.cells) for label, column in zip("abcd", out.columns, strict=True)}


def test_a_baseline_at_0_has_no_ratio():
    costs = compare(curves("bots", [0.0, 0.2], [0.5]), curves("random", [0.0, 0.0], [0.0]))
    assert costs["best_score"] == {"run": 0.2, "baseline": 0.0, "ratio": None}
    assert json.loads(json.dumps(costs))["mean_etr"]["ratio"] is None
    out = cells(table(costs, "bots", "random"))
    ratios = dict(zip(out["a"], out["d"], strict=True))
    assert ratios["best score"] == ratios["mean effective task ratio"] == "–"


def test_a_ratio_is_in_the_table_and_the_summary():
    costs = compare(curves("bots", [0.1, 0.3], [0.5]), curves("random", [0.1, 0.2], [0.4]))
    assert costs["best_score"]["ratio"] == 0.3 / 0.2
    out = cells(table(costs, "bots", "random"))
    assert dict(zip(out["a"], out["d"], strict=True))["best score"] == "1.50"


def test_an_installed_demo_finds_the_lab_that_came_with_it(tmp_path, capsys, monkeypatch):
    # It fails one check later: a lab was found, both in this test's clone and in a folder without one.
    assert demo.main(["evaluation.pool=null"]) == 2
    assert "evaluation.pool" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert demo.main(["evaluation.pool=null"]) == 2
    assert "evaluation.pool is not set" in capsys.readouterr().err


def test_a_demonstration_without_evaluation_is_refused_before_it_trains(tmp_path, capsys):
    assert demo.main(["evaluation.pool=null", f"run.folder={tmp_path}"]) == 2
    assert "evaluation.pool is not set" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
