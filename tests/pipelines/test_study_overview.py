"""A study at a glance, from hand-made results."""

import re

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure

from pipelines.studies.comparison import compare_arms
from pipelines.studies.config import Part, StudyConfig
from pipelines.studies.curves_plot import End, _tell_ends
from pipelines.studies.forest_plot import _bounds, _draw_panel
from pipelines.studies.overview import _compared, overview
from pipelines.studies.results import RUNS, STEPS, StudyResults

SEEDS = 7
RISE = {"random": [0.40, 0.42, 0.44], "bots": [0.40, 0.44, 0.46], "offline": [0.40, 0.41, 0.42]}


def steps(pool, arm, seed, scores):
    run = {"pool": pool, "arm": arm, "seed": seed, "machine": "2 CPU cores", "sitting": "monday"}
    common = run | {"etr": 0.5, "brier": 0.1}
    return [
        common | {"step": k, "score": score, "tokens": 100.0 * k, "seconds": 2.0 * k}
        for k, score in enumerate(scores)
    ]


@pytest.fixture
def results(tmp_path):
    rows = []
    for seed in range(SEEDS):
        for arm, scores in RISE.items():
            rows += steps("mixed", arm, seed, [score + 0.001 * seed for score in scores])
    rows += steps("math", "random", 0, RISE["random"]) + steps("math", "bots", 0, RISE["bots"])
    return taken(StudyResults(tmp_path), rows)


def taken(results, rows):
    """Results with these steps, and the runs they belong to."""
    runs = {tuple(row.items()): row for row in ({name: r.get(name) for name in RUNS.names} for r in rows)}
    results.steps = pa.Table.from_pylist(rows, schema=STEPS)
    results.runs = pa.Table.from_pylist(list(runs.values()), schema=RUNS)
    return results


@pytest.mark.parametrize("apart", [{"machine": "1 CPU core"}, {"sitting": "tuesday"}])
def test_seconds_of_two_machines_or_sittings_are_not_compared(results, apart):
    taken(results, [row | (apart if row["arm"] == "bots" else {}) for row in results.steps.to_pylist()])
    metrics = compare_arms(results, "mixed", list(RISE), "random", range(SEEDS)).metrics
    for name in ("TTB100", "BSF50"):
        assert len(metrics["bots"][f"{name}/steps"].values) == SEEDS
        assert len(metrics["bots"][f"{name}/tokens"].values) == SEEDS
        assert not len(metrics["bots"][f"{name}/seconds"].values)
        assert len(metrics["random"][f"{name}/seconds"].values) == SEEDS


def study(tmp_path, **part):
    parts = [{"name": "all", "pools": ["mixed", "math"], "arms": list(RISE), "seeds": SEEDS} | part]
    given = {"base": "lab.yaml", "results": tmp_path, "baseline": "random", "parts": parts}
    return StudyConfig(**given, pools={"mixed": [], "math": []}, arms={arm: [] for arm in RISE})


def test_has_every_arm_and_pool_of_the_parts_marked_for_it(results, tmp_path):
    text = overview(study(tmp_path, overview=True), results, tmp_path / "pages")
    assert "](../at_a_glance.png)" in text
    assert (tmp_path / "at_a_glance.png").stat().st_size > 10_000
    won = "| mixed | bots 0.50 | bots 0.50 | bots 0.50 | bots 1.05 |\n| math | nothing | nothing | nothing | nothing |"
    assert won in text, "one seed of math can't be beyond chance"
    first, second = text.split("Best score over")
    assert "| arm | mixed | math |" in first
    assert "| bots | **0.50 [0.50, 0.50]** | 0.50 |" in first
    assert f"| offline | **never {SEEDS}** | – |" in first
    assert "| bots | **1.05 [1.04, 1.05]** | 1.05 |" in second
    assert "| random |" not in text.partition("## The arms")[0], "it is the measure"
    assert overview(study(tmp_path), results, tmp_path) == ""


def test_arms_are_grouped_and_sorted_and_winners_are_not_all_named(results, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.studies.overview.MOST_NAMED", 1)
    for seed in range(SEEDS):
        scores = [score + 0.001 * seed for score in (0.40, 0.45, 0.46)]
        results.steps = pa.concat_tables(
            [results.steps, pa.Table.from_pylist(steps("mixed", "filter", seed, scores), schema=STEPS)]
        )
    taken(results, results.steps.to_pylist())
    given = study(tmp_path, overview=True).model_dump()
    given["arms"]["filter"] = []
    given["parts"][0]["arms"].append("filter")
    grouped = StudyConfig(**given | {"groups": {"theirs": ["offline", "filter"]}})
    text = overview(grouped, results, tmp_path)
    assert "| mixed | bots 0.50, 1 more |" in text
    rows = [line.split(" | ")[0] for line in text.partition("| arm | mixed |")[2].splitlines()[2:6]]
    assert rows == ["| *theirs:*", "| filter", "| offline", "| *others:*"]
    named_so = StudyConfig(**given | {"groups": {"others": ["offline", "filter"]}})
    rows = overview(named_so, results, tmp_path).partition("| arm | mixed |")[2].splitlines()[2:6]
    assert [row.split(" | ")[0] for row in rows] == ["| *others:*", "| filter", "| offline", "| bots"]


@pytest.mark.parametrize(
    ("groups", "said"),
    [({"theirs": ["opus"]}, "unknown arm ['opus']"), ({"a": ["bots"], "b": ["bots"]}, "twice")],
)
def test_a_group_of_no_arm_or_of_the_same_is_refused(groups, said, tmp_path):
    with pytest.raises(ValueError, match=re.escape(said)):
        StudyConfig(**study(tmp_path).model_dump() | {"groups": groups})


def test_says_of_how_few_seeds_an_arm_is(results, tmp_path):
    results.steps = results.steps.slice(0, 9 * (SEEDS - 1) + 6)
    text = overview(study(tmp_path, overview=True), results, tmp_path)
    assert f"| offline | **never {SEEDS - 1}**, {SEEDS - 1} seeds |" in text


def test_is_empty_before_there_is_a_pair(tmp_path):
    assert overview(study(tmp_path, overview=True), StudyResults(tmp_path), tmp_path) == ""
    assert not list(tmp_path.iterdir())


def test_joins_the_parts_of_a_pool_each_arm_tested_among_those_of_its_first_part(results, tmp_path):
    parts = [
        Part(name="alone", pools=["mixed"], arms=["random", "bots"], seeds=SEEDS, overview=True),
        Part(name="all", pools=["mixed"], arms=list(RISE), seeds=SEEDS, overview=True),
    ]
    shown = _compared(study(tmp_path).model_copy(update={"parts": parts}), results, "mixed")
    assert list(shown.metrics) == ["random", "bots", "offline"]
    assert shown.seeds == {"random": SEEDS, "bots": SEEDS, "offline": SEEDS}
    least = 2 / 2**SEEDS
    assert shown.metrics["bots"]["TTB100/steps"].p == pytest.approx(least)
    assert shown.metrics["offline"]["TTB100/steps"].p == pytest.approx(2 * least), "Holm, two arms"


def test_marks_stand_where_the_tables_have_them_and_at_the_edge_without_one(results):
    compared = compare_arms(results, "mixed", list(RISE), "random", range(SEEDS))
    low, high = _bounds({"mixed": compared})
    assert (low, high) == (pytest.approx(0.5 / 1.25), 1.25)
    axis = Figure().subplots()
    _draw_panel(axis, compared, {"bots": 0, "offline": 1}, low, high)
    marks = [mark for mark in axis.lines if mark.get_marker() in ("o", ">")]
    np.testing.assert_allclose([float(mark.get_xdata()[0]) for mark in marks], [0.5] * 3 + [high] * 3)
    assert [mark.get_marker() for mark in marks] == ["o"] * 3 + [">"] * 3
    assert all(mark.get_markerfacecolor() == mark.get_color() for mark in marks), "seven seeds of seven hold"
    assert [text.get_text() for text in axis.texts] == [f"never {SEEDS}"] * 3
    assert axis.get_title() == f"mixed, {SEEDS} seeds"


def test_a_mark_of_fewer_seeds_than_its_panel_says_of_how_many(results):
    kept = {"random": SEEDS, "bots": 1, "offline": 2}
    rows = [row for row in results.steps.to_pylist() if row["seed"] < kept[row["arm"]]]
    results.steps = pa.Table.from_pylist(rows, schema=STEPS)
    compared = compare_arms(results, "mixed", list(RISE), "random", range(SEEDS))
    for arms, said in ((RISE, ["1 seed"] * 3 + ["never 2, 2 seeds"] * 3), (["bots"], [])):
        axis = Figure().subplots()
        _draw_panel(axis, compared, {arm: row for row, arm in enumerate(arms)}, 0.4, 1.25)
        assert [text.get_text() for text in axis.texts if "seed" in text.get_text()] == said


def test_the_interval_of_two_seeds_does_not_set_the_scale(results):
    rows = results.steps.to_pylist()
    late = [row | {"score": row["score"] - 0.03 * (row["step"] == 1)} for row in rows if row["seed"] == 1]
    results.steps = pa.Table.from_pylist([row for row in rows if row["seed"] == 0] + late, schema=STEPS)
    compared = compare_arms(results, "mixed", ["random", "bots"], "random", range(SEEDS))
    interval = compared.metrics["bots"]["TTB100/steps"].interval
    assert interval.high > 50
    assert _bounds({"mixed": compared})[1] < 2


def test_a_curve_that_goes_on_beyond_the_axis_says_where_it_ends():
    axis = Figure().subplots()
    axis.set(xlim=(0, 10), ylim=(0.4, 0.5))
    _tell_ends(axis, [End(9.0, 0.42, "r"), End(20.0, 0.46, "g"), End(30.0, 0.461, "b")])
    assert [text.get_text() for text in axis.texts] == ["ends at 0.460 ▸", "ends at 0.461 ▸"]
    (_, lower), (_, upper) = (text.xy for text in axis.texts)
    assert upper - lower > 0.004, "one above the other"
