"""A study's tables and page from hand-written runs: stale ones, a kill while writing, scores of 0."""

import json
import math
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import yaml

from bots.config.tree import ConfigError
from bots.metrics import Curve
from pipelines.studies import results as tables
from pipelines.studies.comparison import compare_arms
from pipelines.studies.config import load_study
from pipelines.studies.markdown import cell
from pipelines.studies.page import write_page
from pipelines.studies.results import StudyResults, StudyRun
from pipelines.study import missing_runs

RANDOM, BOTS = ("mixed", "random", 0), ("mixed", "bots", 0)


@pytest.fixture
def study_file(tmp_path):
    """Write a study of two arms on the lab, with changes."""

    def write(seeds=2, first_seed=0, **changes):
        shutil.copy("configs/lab.yaml", tmp_path)
        tree = {
            "base": "lab.yaml",
            "results": str(tmp_path / "results"),
            "baseline": "random",
            "pools": {"mixed": []},
            "arms": {"random": ["selection.selector=random"], "bots": []},
            "parts": [
                {
                    "name": "all",
                    "pools": ["mixed"],
                    "arms": ["random", "bots"],
                    "seeds": seeds,
                    "first_seed": first_seed,
                }
            ],
        } | changes
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(tree))
        return load_study(path, [])

    return write


def add(study, key, tmp_path, scores, sitting="monday", pace=1.0, more=None):
    """Add a run with these scores, each step taking this many seconds, to the tables. more: metrics of each step."""
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    records = [
        {"step": k, "score": score, "score/math": score, "tokens": 10 * k, "seconds": pace * (k > 0), "etr": 0.5,
         "posterior/batch/brier": 0.1, **(more or {})}
        for k, score in enumerate(scores)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    about = {
        "fingerprint": study.fingerprint(key),
        "commit": "c" * 40,
        "machine": "1 CPU core",
        "sitting": sitting,
        "wall_seconds": pace * len(scores),
    }
    StudyResults.add(study.results, key, folder, about)


def page_of(study, tmp_path):
    write_page(study, "study.yaml", tmp_path / "study.md")
    return (tmp_path / "study.md").read_text()


def test_a_part_with_more_seeds_or_rivals_than_an_earlier_one_has_its_tables(study_file, tmp_path):
    common = {"pools": ["mixed"], "arms": ["random", "bots"]}
    parts = [
        {"name": "first look", "seeds": 1, **common},
        {"name": "does it pay", "seeds": 2, **common},
        {"name": "the same again", "seeds": 1, **common},
        {"name": "rivals", "seeds": 1, "rivals": ["bots"], **common, "arms": ["random", "bots", "greedy"]},
        {
            "name": "another rival",
            "seeds": 1,
            "rivals": ["greedy"],
            **common,
            "arms": ["random", "bots", "greedy"],
        },
    ]
    arms = {"random": ["selection.selector=random"], "bots": [], "greedy": ["selection.selector=greedy"]}
    study = study_file(parts=parts, arms=arms)
    for key in study.plan():
        add(study, key, tmp_path, [0.1, 0.2, 0.3])
    text = page_of(study, tmp_path)
    shown = [line for line in text.splitlines() if line.startswith("## ") and "glance" not in line]
    assert shown == [f"## {name}: mixed" for name in ("First look", "Does it pay", "Rivals", "Another rival")]
    assert text.count("The same runs against `greedy`") == 1


def test_runs_of_an_earlier_configuration_are_left_out_and_said_to_be(study_file, tmp_path):
    study = study_file()
    for seed in (0, 1):
        for arm in ("random", "bots"):
            add(study, ("mixed", arm, seed), tmp_path, [0.1, 0.2, 0.3 + 0.01 * seed])
    text = page_of(study, tmp_path)
    assert "4 of 4 runs are finished" in text
    assert "Left out" not in text
    study = study_file(common=["run.steps=77"])
    add(study, RANDOM, tmp_path, [0.1, 0.2, 0.3, 0.4, 0.5])
    add(study, BOTS, tmp_path, [0.1, 0.2, 0.3, 0.4, 0.5])
    text = page_of(study, tmp_path)
    assert "2 of 4 runs are finished" in text
    assert "Left out: 2 runs with another configuration than the study's current one" in text
    assert "| bots | 1 | 0.500 |" in text
    assert StudyResults(study.results).runs.num_rows == 4, "on disk they stay"
    assert missing_runs(study) == [("mixed", "random", 1), ("mixed", "bots", 1)]


def test_no_run_of_the_study_in_the_docs_is_left_out():
    study = load_study("configs/study.yaml", [])
    assert StudyResults(study.results).leave_out_stale(study) == 0


@pytest.mark.parametrize("full_at", [1, 2, 3])
def test_a_kill_between_the_tables_leaves_a_run_to_be_made(full_at, study_file, tmp_path, monkeypatch):
    study = study_file()
    add(study, RANDOM, tmp_path, [0.1, 0.2])
    add(study, BOTS, tmp_path, [0.1, 0.2])
    study = study_file(common=["run.steps=77"])
    real, begun = tables.replacing, []

    @contextmanager
    def full_disk(path):
        begun.append(path)
        if len(begun) == full_at:
            raise OSError(28, "No space left on device")
        with real(path) as partial:
            yield partial

    monkeypatch.setattr(tables, "replacing", full_disk)
    with pytest.raises(OSError, match="No space"):
        add(study, BOTS, tmp_path, [0.5, 0.6])
    monkeypatch.undo()
    assert BOTS in missing_runs(study)
    results = StudyResults(study.results)
    if results.run(BOTS) is not None:  # the old one, complete
        assert results.run(BOTS).against["steps"].scores.tolist() == [0.1, 0.2]
        assert results.fingerprint(BOTS) != study.fingerprint(BOTS)
    add(study, BOTS, tmp_path, [0.5, 0.6])
    assert BOTS not in missing_runs(study)
    assert StudyResults(study.results).run(BOTS).against["steps"].scores.tolist() == [0.5, 0.6]


def seconds_of(study):
    """The ratio of the arms' seconds to random's best score, by seed, where it exists."""
    compared = compare_arms(StudyResults(study.results), "mixed", ["random", "bots"], "random", range(2))
    return compared.metrics["bots"]["TTB100/seconds"].values.tolist()


def test_seconds_are_compared_only_between_runs_of_one_sitting(study_file, tmp_path):
    study = study_file(seeds=1)
    scores, sooner = [0.1, 0.2, 0.3], [0.1, 0.3, 0.3]
    add(study, RANDOM, tmp_path, scores)
    add(study, BOTS, tmp_path, sooner, sitting="tuesday", pace=0.1)
    assert seconds_of(study) == []
    assert "Nothing to compare: no arm has seconds" in page_of(study, tmp_path)
    add(study, RANDOM, tmp_path, scores, sitting="tuesday", pace=0.1)
    assert seconds_of(study) == [0.5]


def test_what_a_run_did_not_record_is_taken_from_the_first_repeat_that_did(study_file, tmp_path):
    study = study_file(seeds=1)
    add(study, RANDOM, tmp_path, [0.1, 0.2, 0.3])
    add(study, RANDOM, tmp_path, [0.1, 0.2, 0.9], "tuesday", more={"pass@2": 0.4, "coverage": 0.7})
    add(study, RANDOM, tmp_path, [0.1, 0.2, 0.8], "friday", more={"pass@2": 0.5, "evaluation_entropy": 0.2})
    run = StudyResults(study.results).run(RANDOM)
    assert run.against["steps"].scores.tolist() == [0.1, 0.2, 0.3]
    assert run.last == {"math": 0.3}, "it had recorded these"
    assert (run.evaluation, run.coverage) == ({"pass@2": 0.4}, 0.7)


def test_a_run_made_again_adds_its_seconds_and_changes_nothing_that_it_recorded(study_file, tmp_path):
    study = study_file(seeds=1)
    add(study, RANDOM, tmp_path, [0.1, 0.2, 0.3])
    add(study, BOTS, tmp_path, [0.1, 0.3, 0.3])
    before, text = StudyResults(study.results).run(RANDOM), page_of(study, tmp_path)
    add(study, RANDOM, tmp_path, [0.1, 0.2, 0.9], sitting="tuesday", pace=5.0)
    results = StudyResults(study.results)
    assert results.runs.num_rows == 3
    after = results.run(RANDOM)
    for cost, curve in before.against.items():
        np.testing.assert_array_equal(after.against[cost].scores, curve.scores)
    assert list(after.timed) == [("1 CPU core", "monday"), ("1 CPU core", "tuesday")]
    assert after.timed["1 CPU core", "tuesday"].scores[-1] == 0.9
    said = (
        "\nRepeats, to measure seconds: 1 run. 0 of these reproduced every step's tokens and every score, "
        "the others those of all steps before step 2 or a later one. Scores,\n"
    )
    assert said in (again := page_of(study, tmp_path))
    assert again.partition("##")[2] == text.partition("##")[2], (
        "the arms have monday's seconds in common, as before"
    )
    add(study, RANDOM, tmp_path, [0.1, 0.2, 0.8], sitting="tuesday", pace=6.0)
    assert StudyResults(study.results).runs.num_rows == 3, "in place of the other one of that sitting"
    add(study, BOTS, tmp_path, [0.1, 0.3, 0.3], sitting="tuesday", pace=2.0)
    assert StudyResults(study.results).repeats([RANDOM, BOTS]) == (2, 1, 2)
    add(study_file(seeds=1, common=["run.steps=77"]), RANDOM, tmp_path, [0.1, 0.2], sitting="friday")
    assert StudyResults(study.results).runs.num_rows == 3, "those of another configuration are gone"
    assert StudyResults(study.results).run(RANDOM).against["steps"].scores.tolist() == [0.1, 0.2]


class Known:
    """Results whose scores the test knows, by arm and seed."""

    def __init__(self, scores):
        self.scores = scores

    def run(self, key):
        _, arm, seed = key
        scores = np.array(self.scores[arm][seed])
        steps = np.arange(len(scores), dtype=float)
        costs = dict.fromkeys(("steps", "tokens"), Curve(steps, scores))
        return StudyRun(costs, np.ones(4), np.zeros(4), math.nan, {})


def bsf(scores, name):
    seeds = range(len(scores["bots"]))
    compared = compare_arms(Known(scores), "mixed", ["random", "bots"], "random", seeds)
    return compared.metrics["bots"][f"{name}/steps"]


def test_a_baseline_at_0_gives_no_ratio_or_an_infinite_one():
    slow = [0.0, 0.0, 0.0, 0.0, 0.5]
    scores = {"random": [slow, slow, [0.2] * 5], "bots": [slow, [0.0, 0.1, 0.2, 0.3, 0.5], [0.3] * 5]}
    assert bsf(scores, "BSF25").values.tolist() == [np.inf, 0.3 / 0.2], "0 over 0 says nothing"
    assert cell(bsf(scores, "BSF25")) == "∞ in 1"
    assert cell(bsf({arm: [runs[1]] * 2 for arm, runs in scores.items()}, "BSF50")) == "∞ in 2"
    assert bsf({arm: [runs[0]] * 2 for arm, runs in scores.items()}, "BSF25").values.size == 0
    three = {"random": [slow, [0.2] * 5, [0.2] * 5], "bots": [[0.1] * 5, [0.3] * 5, [0.4] * 5]}
    assert cell(bsf(three, "BSF25")) == "2.00 (∞ in 1)"


def test_a_run_at_0_is_below_its_baseline():
    scores = {"random": [[0.2] * 5] * 6, "bots": [[0.0] * 5] * 6}
    figure = bsf(scores, "BSF100")
    assert figure.values.tolist() == [0.0] * 6
    assert figure.holds


def test_equal_arms_are_hardly_ever_called_slower_or_faster():
    rng, called = np.random.default_rng(0), {name: [0, 0] for name in ("TTB50", "TTB75", "TTB100")}
    rise = 0.44 + 0.03 * (1 - np.exp(-np.arange(16) / 5))
    studies = 250
    for _ in range(studies):
        scores = dict(zip(("random", "bots"), rise + rng.normal(0, 0.004, (2, 8, 16)), strict=True))
        compared = compare_arms(Known(scores), "mixed", ["random", "bots"], "random", range(8)).metrics[
            "bots"
        ]
        for name, counts in called.items():
            if compared[f"{name}/steps"].holds:
                counts[compared[f"{name}/steps"].middle > 1] += 1
    # The target of TTB100 is random's best of 16 noisy scores: half of all equal runs never reach it.
    assert all(sum(counts) <= 0.075 * studies for counts in called.values()), called


def test_an_arm_with_lower_scores_is_called_slower():
    rise = np.linspace(0.2, 0.5, 16)
    worse = [rise - 0.01 * (1 + seed) * (rise > 0.3) for seed in range(8)]
    figure = bsf({"random": [rise] * 8, "bots": worse}, "TTB100")
    assert figure.interval.never == 8
    assert figure.holds
    late = [np.concatenate([rise[:1], rise[: -1 - seed % 2], [0.6] * (seed % 2)]) for seed in range(8)]
    assert not bsf({"random": [rise] * 8, "bots": late}, "TTB100").holds, "four end higher"


def test_a_gain_that_does_not_hold_is_in_the_best_score_and_not_in_the_last():
    held, lost = [0.2, 0.4, 0.4], [0.2, 0.4, 0.2]
    scores = {"random": [[0.2, 0.3, 0.3]] * 7, "holds": [held] * 7, "loses": [lost] * 7}
    metrics = compare_arms(Known(scores), "mixed", list(scores), "random", range(7)).metrics
    for arm, last in (("holds", 0.4), ("loses", 0.2)):
        assert metrics[arm]["best score"].interval.mean == pytest.approx(0.4)
        assert metrics[arm]["last score"].interval.mean == pytest.approx(last)
        assert metrics[arm]["last score"].p == pytest.approx(2 * 2 / 2**7), "Holm, two arms"
    assert cell(metrics["holds"]["last score"]) == "**0.40 [0.40, 0.40]**"
    assert cell(metrics["random"]["last score"]) == "0.30 [0.30, 0.30]"


def test_a_part_may_start_at_another_seed(study_file, tmp_path):
    study = study_file(seeds=2, first_seed=8)
    assert list(study.plan()) == [("mixed", arm, seed) for seed in (8, 9) for arm in ("random", "bots")]
    for seed, gain in ((0, 0.9), (8, 0.5), (9, 0.7)):
        add(study, ("mixed", "random", seed), tmp_path, [0.1, 0.2])
        add(study, ("mixed", "bots", seed), tmp_path, [0.1, gain])
    (part,) = study.parts
    compared = compare_arms(StudyResults(study.results), "mixed", part.arms, "random", part.all_seeds)
    assert compared.metrics["bots"]["last score"].values.tolist() == [0.5, 0.7], (
        "not seed 0, which is there too"
    )
    assert "| bots | 2 | 0.600 |" in page_of(study, tmp_path)


def test_more_seeds_than_the_test_takes_are_refused(study_file):
    assert study_file(seeds=20).parts[0].seeds == 20
    with pytest.raises(ConfigError, match=r"parts\.0\.seeds: the exact signed-rank test takes 20 pairs.*25"):
        study_file(seeds=25)


def test_a_study_without_evaluation_is_refused_before_anything_runs(study_file):
    with pytest.raises(ConfigError, match=r"mixed, random, seed 0: evaluation\.pool is not set"):
        study_file(common=["evaluation.pool=null"])


def test_completions_of_the_evaluation_are_told_of_the_runs_that_recorded_them(study_file, tmp_path):
    study = study_file(seeds=3)
    for seed in range(3):
        add(study, ("mixed", "random", seed), tmp_path, [0.1, 0.2, 0.3])
        more = {"pass@2": 0.4 + 0.1 * seed, "evaluation_entropy": 0.25, "evaluation_finished_share": 1.0}
        add(study, ("mixed", "bots", seed), tmp_path, [0.1, 0.3, 0.4], more=more)
    text = page_of(study, tmp_path)
    told = text[text.index("Completions of the evaluation tasks at the end") :].splitlines()
    assert told[2] == "| arm | seeds | pass@2 | entropy | tokens | finished |"
    assert told[4] == "| bots | 3 | 0.500 [0.252, 0.748] | 0.250 [0.250, 0.250] | – | 1.000 [1.000, 1.000] |"
    assert not "".join(told[5:6]).startswith("|"), "random recorded nothing and has no row"
