"""A small study with real training: it resumes, and its metrics are those of `bots.metrics`."""

import shutil

import numpy as np
import pytest
import yaml

from bots.config.train import load_config
from bots.config.tree import ConfigError
from bots.metrics import mean_interval, time_to_best
from pipelines import study
from pipelines.shared.summary import read_metrics
from pipelines.studies.claims import claims, least_seeds
from pipelines.studies.comparison import NOTHING, Comparison, Metric, compare_arms, ratio_names
from pipelines.studies.config import Only, fingerprint, load_study
from pipelines.studies.markdown import cell
from pipelines.studies.page import write_page
from pipelines.studies.results import StudyResults
from pipelines.train import train
from tests.pipelines.conftest import SMALL

ONE_ARM = {"name": "a", "pools": ["mixed"], "arms": ["random"], "seeds": 1}


def study_file(tmp_path, **changes):
    tree = {
        "base": "lab.yaml",
        "results": str(tmp_path / "results"),
        "folder": str(tmp_path / "runs"),
        "baseline": "random",
        "common": [*SMALL, "learner.ranks=2"],
        "pools": {"mixed": [], "math": ["pool.sources.0.domains=[math]"]},
        "arms": {"random": ["selection.selector=random"], "bots": [], "rho 1": ["selection.rho=1"]},
        "parts": [
            {
                "name": "selectors",
                "about": "Which one?",
                "pools": ["mixed"],
                "arms": ["random", "bots"],
                "seeds": 2,
                "paper": {"mixed": {"bots": {"TTB50": 0.85, "TTB100": "never"}}},
            },
            {"name": "p* and ρ", "pools": ["mixed"], "arms": ["random", "bots"], "seeds": 1},
        ],
    } | changes
    shutil.copy("configs/lab.yaml", tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_runs_come_once_each_and_seed_by_seed(tmp_path):
    parts = [
        {"name": "selectors", "pools": ["mixed", "math"], "arms": ["random", "bots"], "seeds": 2},
        {"name": "ρ", "pools": ["mixed"], "arms": ["random", "bots", "rho 1"], "seeds": 1},
    ]
    config = load_study(study_file(tmp_path, parts=parts), [])
    plan = list(config.plan())
    first = [("mixed", "random", 0), ("mixed", "bots", 0), ("math", "random", 0), ("math", "bots", 0)]
    assert plan[:5] == [*first, ("mixed", "random", 1)]
    assert len(plan) == len(set(plan)) == 9
    assert config.run(("math", "rho 1", 3)).selection.rho == 1
    assert list(config.plan(Only(parts=("ρ",)))) == [("mixed", arm, 0) for arm in ("random", "bots", "rho 1")]
    assert list(config.plan(Only(arms=("rho 1",)))) == [("mixed", "rho 1", 0)]
    assert list(config.plan(Only(("selectors",), ("rho 1",)))) == []
    prints = {config.fingerprint(key) for key in plan}
    assert len(prints) == 9  # every run has its own configuration, wherever it is stored
    moved = load_study(study_file(tmp_path, parts=parts, folder="/elsewhere"), [])
    assert moved.fingerprint(plan[0]) == config.fingerprint(plan[0])


def test_a_base_edited_under_way_does_not_mix_with_what_the_study_began_with(tmp_path):
    study, key = load_study(study_file(tmp_path), []), ("mixed", "bots", 0)
    longest, before = study.run(key).rollout.max_tokens, study.fingerprint(key)
    base = yaml.safe_load(study.base.read_text())
    base["rollout"]["max_tokens"] = longest // 2
    study.base.write_text(yaml.safe_dump(base))
    assert (study.run(key).rollout.max_tokens, study.fingerprint(key)) == (longest, before)
    again = load_study(tmp_path / "study.yaml", [])
    assert again.run(key).rollout.max_tokens == longest // 2
    assert again.fingerprint(key) != before


def test_a_run_of_other_defaults_is_another_one():
    tuned, written, fixed, given = (
        fingerprint(load_config("configs/lab.yaml", overrides))
        for overrides in (
            [],
            ["selection.adaptor=predictive"],
            ["selection.adaptor=null"],
            ["selection.lam=0.1"],
        )
    )
    assert tuned == written, "who wrote it does not count"
    assert fixed == given, "λ is at its default"
    assert tuned != fixed


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"baseline": "offline"}, "unknown arm .'offline'."),
        ({"parts": [{"name": "a", "pools": ["code"], "arms": ["random"], "seeds": 1}]}, "unknown pool .'code'."),
        ({"parts": [{"name": "a", "pools": ["mixed"], "arms": ["bots"], "seeds": 1}]}, "lacks the baseline 'random'"),
        ({"arms": {"random": [], "bots": ["selection.rho=7"]}}, "selection.rho"),
        ({"parts": [{"name": "a", "pools": ["mixed"], "arms": ["random", "bots"], "rivals": ["rho 1"], "seeds": 1}]},
         "unknown rival .'rho 1'."),
        ({"parts": [ONE_ARM | {"paper": {"math": {}}}]}, "unknown pool of the paper's .'math'."),
        ({"parts": [ONE_ARM | {"paper": {"mixed": {"bots": {}}}}]}, "unknown arm of the paper's .'bots'."),
        ({"parts": [ONE_ARM | {"paper": {"mixed": {"random": {"TTB5": 1}}}}]}, "TTB5"),
        ({"seeds": 3}, "seeds"),
    ],
)  # fmt: skip
def test_refuses(tmp_path, changes, what):
    with pytest.raises(ConfigError, match=what):
        load_study(study_file(tmp_path, **changes), [])


@pytest.mark.parametrize(("option", "name"), [("--part", "sectors"), ("--arm", "bot")])
def test_a_part_or_an_arm_that_there_is_none_of_is_refused(option, name, tmp_path, capsys):
    assert study.main([str(study_file(tmp_path)), option, name]) == 2
    assert f"unknown {option[2:]} ['{name}']; the study has" in " ".join(capsys.readouterr().err.split())


def test_an_arm_that_no_part_asked_for_has_is_refused(tmp_path):
    parts = [
        {"name": "selectors", "pools": ["mixed"], "arms": ["random", "bots"], "seeds": 1},
        {"name": "ρ", "pools": ["mixed"], "arms": ["random", "rho 1"], "seeds": 1},
    ]
    config = load_study(study_file(tmp_path, parts=parts), [])
    with pytest.raises(
        ConfigError, match=r"arm 'rho 1' is in none of the parts \['selectors'\]; it is in \['ρ'\]"
    ):
        config.check(Only(("selectors",), ("random", "rho 1")))
    config.check(Only(("selectors", "ρ"), ("rho 1",)))
    config.check(Only(arms=("rho 1",)))


@pytest.mark.slow
def test_a_study_goes_on_where_it_stopped(tmp_path, finished_run, capsys, monkeypatch):
    made = []

    def train_unless_made(config, **options):
        """This session has already made the run of the study's first arm with seed 0, to the letter."""
        if fingerprint(config) == fingerprint(finished_run[0]):
            shutil.copytree(finished_run[0].run.path, config.run.path)
        else:
            train(config, **options)
            made.append(read_metrics(config.run.path))

    monkeypatch.setattr(study, "train", train_unless_made)
    path, page = str(study_file(tmp_path)), tmp_path / "pages" / "study.md"
    arguments = [path, "--page", str(page)]
    assert study.main([*arguments, "--minutes", "0"]) == 0
    assert "4 runs left" in capsys.readouterr().out
    one_seed = [*arguments, "parts.0.seeds=1"]
    assert study.main([*one_seed, "--untimed"]) == 0
    assert "2 runs left" in capsys.readouterr().out
    before = StudyResults(tmp_path / "results")
    assert before.runs.num_rows == 2
    assert before.steps.num_rows == 8
    assert len(made) == 1
    assert study.main(one_seed) == 0
    assert "0 runs left" in capsys.readouterr().out
    assert study.main([*arguments, "--page-only"]) == 0
    assert "2 runs left" in capsys.readouterr().out
    text = page.read_text()
    assert "2 of 4 runs are finished" in text
    assert "## Selectors: mixed\n\nWhich one?\n" in text
    assert "| bots | 1 |" in text
    assert text.count("| *bots, paper* |  | 0.85 |  | never |") == 1, "the paper has steps only"
    assert "## P* and ρ" not in text, "it has no arm that the first part does not show"
    assert "](../results/selectors-mixed.png)" in text
    assert (tmp_path / "results" / "selectors-mixed.png").stat().st_size > 10_000

    random, bots = (before.run(("mixed", arm, 0)) for arm in ("random", "bots"))
    assert random.against["steps"].at.tolist() == [0, 2, 3]
    last = [record for record in before.steps.to_pylist() if record["arm"] == "bots"][-1]
    assert set(dict(last["domain_scores"])) == {"logic", "math", "code"}
    assert 0 < last["coverage"] <= 3 * 8 / 200
    assert "Last score by domain" in text

    assert study.main([*one_seed, "--retime", "--arm", "random"]) == 0
    assert "1 run left" in capsys.readouterr().out
    again = StudyResults(tmp_path / "results")
    besides = [name for name in before.steps.column_names if "seconds" not in name]
    order = [("arm", "ascending"), ("step", "ascending")]
    one, other = (tables.steps.select(besides).sort_by(order) for tables in (before, again))
    assert one.equals(other), "but for its seconds a run repeats itself"
    weights = [[record.get("weights") for record in run] for run in made]
    assert weights[0] == weights[1]
    assert len(set(weights[0])) == 4, "down to the weights, which change at each step"
    assert len(again.run(("mixed", "random", 0)).timed) == 1
    config = load_study(tmp_path / "study.yaml", ["parts.0.seeds=1"])
    assert study.missing_runs(config, retime=True) == [("mixed", "bots", 0)], "that one is not timed"

    compared = compare_arms(before, "mixed", ["random", "bots"], "random", range(2))
    expected = time_to_best(bots.against["tokens"], random.against["tokens"])
    found = compared.metrics["bots"]["TTB100/tokens"].values
    np.testing.assert_array_equal(found, [expected] if not np.isnan(expected) else [])
    assert set(bots.against) == {"steps", "tokens"}
    assert compared.metrics["bots"]["BSF100/tokens"].values.size == 1
    assert compared.metrics["bots"]["BSF100/seconds"].values.size == 0
    assert "0 of them were timed" in text


def test_processes_divide_the_runs(tmp_path):
    config = load_study(study_file(tmp_path), [])
    one, other = list(config.plan())[:2]
    with study._run_lock(config, one) as first, study._run_lock(config, one) as second:
        assert first
        assert not second
        with study._run_lock(config, other) as third:
            assert third
    with study._run_lock(config, one) as again:
        assert again
    assert not list((tmp_path / "results").glob("*.lock"))


def test_runs_made_again_for_their_seconds_keep_them(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        study.main([str(study_file(tmp_path)), "--retime", "--untimed"])
    assert "not allowed with argument --retime" in capsys.readouterr().err


def test_a_study_is_made_again_in_another_folder(tmp_path, capsys):
    again = tmp_path / "again" / "mine"
    assert study.main([str(study_file(tmp_path)), "--results", str(again), "--minutes", "0"]) == 0
    assert "4 runs left" in capsys.readouterr().out
    assert (tmp_path / "again" / "mine.md").exists(), "the page is beside the results"
    assert not (tmp_path / "results").exists()
    config = load_study(tmp_path / "study.yaml", [], again)
    assert config.run(("mixed", "bots", 1)).run.path.is_relative_to(again)


def test_an_empty_study_has_a_page_too(tmp_path):
    config = load_study(study_file(tmp_path), [])
    write_page(config, "study.yaml", tmp_path / "study.md")
    assert "0 of 4 runs are finished, from commits none" in (tmp_path / "study.md").read_text()


def test_claims_say_what_holds_and_in_which_direction():
    def figure(values, p):
        return Metric(np.array(values), mean_interval(values) if values else NOTHING, p)

    few = figure([0.5] * 6, 0.06)
    half, never = figure([0.5] * 7, 0.03), figure([2.0] + [np.inf] * 6, 0.03)
    one = dict.fromkeys(ratio_names(), half) | {
        "TTB100/steps": never,
        "TTB75/tokens": figure([0.5] * 7, 0.06),
        "TTB75/seconds": few,
    }
    untimed = dict.fromkeys(ratio_names(), half) | dict.fromkeys(ratio_names("seconds"), figure([], 1.0))
    metrics = {"random": {}, "one": one, "two": dict.fromkeys(ratio_names(), few), "three": untimed}
    seeds = {"random": 7, "one": 7, "two": 6, "three": 7}
    said = list(claims(Comparison("mixed", seeds, metrics), "random"))
    assert said == [
        "one, 7 seeds. Better in TTB50; TTB75 on steps; TTB100 on tokens and seconds. "
        "Worse in TTB100 on steps; BSF25, BSF50, BSF100. No difference shown in TTB75 on tokens. "
        "Too few seeds for a verdict in TTB75 on seconds.",
        "two, 6 of the 7 seeds that a verdict takes.",
        "three, 7 seeds. Better in TTB50, TTB75, TTB100 on steps and tokens. "
        "Worse in BSF25, BSF50, BSF100 on steps and tokens. Not to be compared on seconds.",
    ]
    # If all signs are equal, the exact two-sided p-value of S pairs is 2 / 2^S.
    assert [least_seeds(arms) for arms in (1, 2, 6)] == [6, 7, 8]


@pytest.mark.parametrize(
    ("values", "text"), [([0.5], "0.50"), ([0.5, 0.7], "0.60"), ([0.5, 0.6, 0.7], "0.60 [0.35, 0.85]")]
)
def test_two_seeds_are_shown_without_an_interval_that_says_nothing(values, text):
    assert cell(Metric(np.array(values), mean_interval(values))) == text
