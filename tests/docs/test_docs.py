"""The figures of the README and the pages are the study's."""

import numpy as np
import pytest

from pipelines.studies.comparison import compare_arms, ratio_names
from pipelines.studies.config import load_study
from pipelines.studies.markdown import cell
from pipelines.studies.results import StudyResults
from tests.docs.study_pages import ROOT, STUDY, as_on_page, check_table, row_of

OTHERS = ["mopps", "dots", "offline"]


def test_the_readme_has_the_study_s_figures(results, readme):
    compared = as_on_page(results, "selectors", "mixed")
    assert set(compared) == {"random", "bots", "bots self-tuned", *OTHERS, "dynamic filter"}
    check_table(compared, readme)
    text = " ".join(readme.split())
    seconds = {arm: cell(compared[arm]["TTB100/seconds"]) for arm in ("bots self-tuned", "bots")}
    assert all(each.startswith("**") for each in seconds.values()), "it holds"
    default, bots = (each.strip("*") for each in seconds.values())
    assert f"the default takes {default} of random's, `bots` {bots}; the others ran on other days" in text
    for arm in set(compared) - {"random", *seconds}:
        assert not len(compared[arm]["TTB100/seconds"].values)
    assert results.repeats(STUDY.plan()) == (40, 16, 27)
    assert f"has all {len(list(STUDY.plan()))} runs" in text
    assert all(results.has(STUDY, key) for key in STUDY.plan())
    assert "the 16 of random and of the default that were made again for their seconds" in text
    first = [results.run(("mixed", "random", seed)).against["steps"].scores[0] for seed in range(8)]
    assert f"All start at {np.mean(first):.2f}." in text
    circle = as_on_page(results, "a wider circle", "mixed")
    best = circle["self-tuned, no cool-down"]["best score"].interval.mean
    assert f"came with a cool-down (best score then {best:.3f})" in text


def test_the_readme_has_the_figures_of_the_real_language_model(readme):
    study = load_study(ROOT / "configs" / "study_smollm2.yaml", [])
    results = StudyResults(ROOT / study.results)
    (part,) = study.parts
    compared = compare_arms(results, "arithmetic", part.arms, study.baseline, part.all_seeds)
    assert set(compared.seeds.values()) == {part.seeds}
    check_table(compared.metrics, readme)
    text = " ".join(readme.split())
    higher = {arm: metrics["BSF100/steps"] for arm, metrics in compared.metrics.items() if arm != "random"}
    state_space, beta = (cell(higher[arm]) for arm in ("state space", "bots self-tuned"))
    assert f"here it ends {state_space} times as high as random, the Beta update {beta} times" in text
    assert all(value > 1 for each in higher.values() for value in each.values), "in each of the three seeds"
    best = [compared.metrics[arm]["best score"].values for arm in ("bots self-tuned", "random")]
    lead = np.subtract(*best)
    assert (
        f"in one seed the Beta update (`bots self-tuned`) by {min(lead):.3f} only".replace("0.", ".") in text
    )


def test_the_readme_has_the_domains_figures(results, readme):
    arms = ["bots", "bots self-tuned"]
    text = " ".join(readme.split())
    for domain, said in (
        ("math", "the default takes {} of random's tokens on math"),
        ("code", "and {} on code, and ends higher"),
    ):
        compared = as_on_page(results, "domains", domain)
        tokens = cell(compared["bots self-tuned"]["TTB100/tokens"])
        assert tokens.startswith("**"), "it holds"
        assert said.format(tokens.strip("*")) in text
        assert all(compared[arm]["BSF100/tokens"].holds for arm in arms), "either ends higher"
    logic = as_on_page(results, "domains", "logic")
    for arm in arms:
        assert not logic[arm]["TTB100/tokens"].holds
        assert not logic[arm]["BSF100/tokens"].holds
    most = logic["bots self-tuned"]["TTB75/tokens"]
    assert most.holds, "it is sooner at three quarters of random's best gain"
    assert most.middle < 1
    page = " ".join((ROOT / "docs" / "selection.md").read_text().split())
    assert f"in {most.middle:.2f} of its tokens".replace("0.", ".") in page


@pytest.mark.parametrize("domain", ["math", "logic", "code"])
def test_the_others_by_domain_are_no_sooner_and_end_below_the_default_as_the_readme_says(
    domain, results, readme
):
    text = " ".join(readme.split())
    assert (
        "`mopps`, `dots` and `offline` reach random's best score sooner on none of the three beyond chance, and "
        "end below the default on math and code."
    ) in text
    compared = as_on_page(results, "domains", domain)
    below = as_on_page(results, "domains", domain, rival="bots self-tuned")
    for arm in OTHERS:
        for cost in ("steps", "tokens"):
            figure = compared[arm][f"TTB100/{cost}"]
            assert not figure.holds or figure.middle > 1
            figure = below[arm][f"BSF100/{cost}"]
            assert domain == "logic" or (figure.holds and figure.middle < 1)


def test_other_cool_downs_gain_nothing_as_the_page_on_selection_says(results):
    page = " ".join((ROOT / "docs" / "selection.md").read_text().split())
    assert (
        "Neither 0.1 with a cool-down of 15 steps nor self-tuning with one of 40 differed from plain 0.1 in any metric "
        "beyond chance, and the latter fell short of the best score of 0.1 in six of the eight seeds"
    ) in page
    long, short = "self-tuned, cool-down 40", "bots, cool-down 15"
    compared = as_on_page(results, "a wider circle", "mixed", rival="bots")
    for arm in (long, short):
        for name in ("TTB50", "TTB75", "TTB100", "BSF25", "BSF50", "BSF100"):
            for cost in ("steps", "tokens"):
                assert not compared[arm][f"{name}/{cost}"].holds, (arm, name, cost)
    assert compared[long]["TTB100/steps"].interval.never == 6


def test_the_tuning_page_has_the_figures_of_the_ablation_of_lambda(results):
    page = (ROOT / "docs" / "tuning.md").read_text()
    arms = {"lam 0": "0", "lam .05": "0.05", "bots": "0.1", "lam .2": "0.2", "lam .5": "0.5", "lam 1": "1"}
    compared = as_on_page(results, "ablation of λ", "mixed")
    best = {}
    for arm, named in {**arms, "random": "random"}.items():
        metrics = compared[arm]
        best[arm] = metrics["best score"].interval.mean
        came_up = metrics["coverage"]
        shares = [
            metrics["ETR"].interval.mean,
            *([came_up.interval.mean] if len(came_up.values) == 4 else []),
        ]
        row = [named, cell(metrics["best score"], 3), *(f"{share:.2f}" for share in shares)]
        assert f"\n| {' | '.join(row)} |" in page, row
    assert best["lam 0"] < min(best["bots"], best["lam .05"]), "it ends lower"
    assert best["bots"] > best["lam .2"] > best["lam .5"] > best["lam 1"], "it fades"


def tokens_over_random(results, arm, seeds, pool="mixed"):
    """Mean over seeds of all tokens that an arm generates, over those of random selection."""
    spent = [
        [results.run((pool, each, seed)).against["tokens"].at[-1] for seed in range(seeds)]
        for each in (arm, "random")
    ]
    return np.mean(np.divide(*spent))


def test_the_tuning_page_has_the_figures_of_the_ablation_of_p_star(results):
    page = (ROOT / "docs" / "tuning.md").read_text()
    arms = {f"p* .{tenth}": f"0.{tenth}" for tenth in (3, 4, 6, 7)} | {"bots": "0.5", "random": "random"}
    compared = as_on_page(results, "ablation of p*", "mixed")
    best = {}
    for arm, named in arms.items():
        metrics = compared[arm]
        best[arm] = metrics["best score"].interval.mean
        row = [named, cell(metrics["best score"], 3), f"{metrics['ETR'].interval.mean:.2f}"]
        tokens = f"{tokens_over_random(results, arm, seeds=4):.2f}"
        row += ["1", "1"] if arm == "random" else [cell(metrics["TTB100/tokens"]), tokens]
        assert f"\n| {' | '.join(row)} |\n" in page, row
    assert best["p* .3"] < min(best["p* .4"], best["p* .7"]) < max(best["bots"], best["p* .6"])


@pytest.mark.parametrize("ours", ["bots", "bots self-tuned"])
def test_both_end_above_the_others_as_the_readme_says(ours, results):
    others = as_on_page(results, "selectors", "mixed", rival=ours)
    for arm in OTHERS:
        assert all(others[arm][f"BSF100/{cost}"].holds for cost in ("steps", "tokens"))
        assert others[arm]["BSF100/steps"].interval.mean < 1


def test_the_dynamic_filter_costs_tokens_and_nothing_else_as_the_readme_says(results, readme):
    dynamic = as_on_page(results, "selectors", "mixed", rival="bots")["dynamic filter"]
    assert not any(dynamic[f"{figure}/steps"].holds for figure in ("TTB50", "TTB75", "TTB100", "BSF100"))
    assert dynamic["TTB50/tokens"].holds
    on_tokens = as_on_page(results, "selectors", "mixed")
    bots, other = (on_tokens[arm]["TTB100/tokens"].middle for arm in ("bots", "dynamic filter"))
    assert 3.5 < other / bots < 4.5
    text = " ".join(readme.split())
    assert "generates four times its tokens" in text
    assert f"that {1 - dynamic['ETR'].interval.mean:.2f}".replace("0.", ".") in text


def test_the_selection_page_has_what_selection_and_filter_add_to_each_other(results, readme):
    page = (ROOT / "docs" / "selection.md").read_text()
    arms = ["random", "bots self-tuned", "dynamic filter", "self-tuned and filter"]
    alone, filtered, both = arms[1:]
    compared = as_on_page(results, "selection and filter", "mixed")
    for arm in arms:
        metrics = compared[arm]
        costs = [cell(metrics[f"TTB100/{cost}"]) if arm != "random" else "1" for cost in ("steps", "tokens")]
        tokens = "1" if arm == "random" else f"{tokens_over_random(results, arm, seeds=8):.2f}"
        row = [arm, *costs, cell(metrics["best score"], 3), tokens]
        assert f"\n| {' | '.join(row)} |\n" in page, row
    assert f"[{compared[both]['best score'].interval.mean:.3f}](docs/selection.md" in readme
    for other in (alone, filtered):
        metrics = as_on_page(results, "selection and filter", "mixed", rival=other)[both]
        assert metrics["TTB75/steps"].holds
        assert metrics["TTB75/steps"].middle < 1, "fewer steps"
        assert metrics["BSF100/steps"].holds
        assert metrics["BSF100/steps"].interval.mean > 1, "it ends higher"
    against = as_on_page(results, "selection and filter", "mixed", rival=alone)
    assert not against[filtered]["BSF100/steps"].holds
    assert against[filtered]["TTB100/steps"].holds
    assert against[filtered]["TTB100/steps"].interval.never == 5
    assert "in five of eight seeds it never gets there" in " ".join(page.split())


def test_the_pages_have_what_a_leaner_filter_and_a_prior_add(results, readme):
    page = (ROOT / "docs" / "selection.md").read_text()
    text = " ".join(page.split())
    alone, filtered, lean, prior, both = (
        "bots self-tuned", "self-tuned and filter", "self-tuned and lean filter", "self-tuned with prior",
        "prior and lean filter",
    )  # fmt: skip
    leaner, informed = "a leaner filter", "a prior from the reference models"
    compared = as_on_page(results, leaner, "mixed") | as_on_page(results, informed, "mixed")
    for arm in (lean, prior, both):
        metrics = compared[arm]
        row = [arm, *(cell(metrics[f"TTB100/{cost}"]) for cost in ("steps", "tokens"))]
        row += [cell(metrics["best score"], 3), f"{tokens_over_random(results, arm, seeds=8):.2f}"]
        assert f"\n| {' | '.join(row)} |\n" in page, row
    against = as_on_page(results, leaner, "mixed", rival=alone)[lean]
    assert against["BSF100/steps"].holds
    assert against["BSF100/steps"].middle > 1
    assert against["TTB50/tokens"].holds
    steps, tokens, half = (cell(against[f"{name}"]).strip("*").replace("0.", ".") for name in (
        "TTB100/steps", "TTB100/tokens", "TTB50/tokens"
    ))  # fmt: skip
    assert f"in {steps} of its steps and as many tokens ({tokens}); only half-way" in text
    assert f"it takes more tokens, {half.split()[0]} of them" in text
    assert not as_on_page(results, leaner, "mixed", rival=filtered)[lean]["BSF100/steps"].holds
    against = as_on_page(results, informed, "mixed", rival=alone)[both]
    for name in ("TTB50/steps", "TTB50/tokens", "BSF100/steps", "last score"):
        assert against[name].holds, name
    half = [cell(against[name]).strip("*") for name in ("TTB50/steps", "TTB50/tokens")]
    assert (
        "takes {} of its steps and {} of its tokens".format(*(each.replace("0.", ".") for each in half))
        in text
    )
    assert f"best score in {half[1]} of its tokens and end higher" in " ".join(readme.split())
    informed_only = as_on_page(results, informed, "mixed", rival=alone)[prior]
    assert all(informed_only[name].holds for name in ("BSF25/steps", "BSF25/tokens"))
    assert not any(informed_only[name].holds for name in ("TTB75/tokens", "BSF100/steps", "last score"))
    assert f"it takes {cell(informed_only['TTB75/tokens']).replace('0.', '.')} of its tokens" in text
    check_table({arm: compared[arm] for arm in (prior, both)}, readme)


def test_a_prior_in_one_family_comes_to_what_the_page_says(results):
    text = " ".join((ROOT / "docs" / "selection.md").read_text().split())
    part, arms = "a prior by domain", ("self-tuned with prior", "bots self-tuned")
    for domain in ("math", "code"):
        compared = as_on_page(results, part, domain)
        assert all(compared[arm]["TTB100/tokens"].holds for arm in arms)
        tokens = [cell(compared[arm]["TTB100/tokens"]).strip("*").replace("0.", ".") for arm in arms]
        scores = [f"{compared[arm]['best score'].interval.mean:.3f}".lstrip("0") for arm in arms]
        said = "on {} {} of random's tokens where the default takes {}, and ends at {} where that ends at {}"
        assert said.format(domain, *tokens, *scores) in text
        against = as_on_page(results, part, domain, rival="bots self-tuned")["self-tuned with prior"]
        assert [
            name for name in ("TTB50", "TTB75", "BSF25", "BSF100") if against[f"{name}/tokens"].holds
        ] == []


@pytest.mark.parametrize("domain", ["math", "logic", "code"])
def test_the_selection_page_has_what_the_dynamic_filter_comes_to_by_domain(domain, results, readme):
    page = (ROOT / "docs" / "selection.md").read_text()
    tuned, filtered = "bots self-tuned", "dynamic filter"
    compared = as_on_page(results, "domains", domain)
    for arm in ("random", tuned, filtered):
        metrics = compared[arm]
        costs = [cell(metrics[f"TTB100/{cost}"]) if arm != "random" else "1" for cost in ("steps", "tokens")]
        tokens = "1" if arm == "random" else f"{tokens_over_random(results, arm, seeds=8, pool=domain):.2f}"
        row = [domain if arm == "random" else "", arm, *costs, cell(metrics["best score"], 3)]
        row += [f"{metrics['ETR'].interval.mean:.2f}", tokens]
        assert f"\n| {' | '.join(row)} |\n" in page, row
    against = as_on_page(results, "domains", domain, rival=tuned)[filtered]
    at_equal_steps, at_equal_tokens = (against[f"BSF100/{cost}"] for cost in ("steps", "tokens"))
    assert at_equal_steps.holds
    assert at_equal_tokens.holds
    assert (at_equal_steps.middle > 1) == (domain != "math"), "it ends higher on code and logic"
    assert at_equal_tokens.middle < 1, "within the same tokens it ends below on all three"
    text = " ".join(readme.split())
    assert "in as many tokens it ends lower, as it does on math either way" in text
    if domain != "math":
        assert f"{against['TTB100/tokens'].middle:.1f}" == {"code": "4.9", "logic": "3.7"}[domain]
        assert "takes 4.9 and 3.7 times its tokens to get as high as that" in " ".join(page.split())


def test_without_reference_models_selection_pays_as_the_pages_say(results, readme):
    page = " ".join((ROOT / "docs" / "selection.md").read_text().split())
    fixed, tuned = "bots without anchors", "self-tuned without anchors"
    learnt = as_on_page(results, "self-tuning without reference models", "mixed")
    share = {}
    for arm, metrics in (as_on_page(results, "does it pay", "mixed") | learnt).items():
        if arm == "random":
            continue
        tokens = metrics["TTB100/tokens"]
        assert tokens.holds
        share[arm] = f"{tokens.interval.mean:.2f}".lstrip("0")
    assert (
        f"with {share[fixed]} of its tokens by domain and level, with {share['bots']} by anchors; tuned, with "
        f"{share[tuned]} and {share['bots self-tuned']}."
    ) in page
    both = as_on_page(results, "self-tuning without reference models", "mixed", rival=fixed)[tuned]
    assert both["BSF100/steps"].holds
    assert both["BSF100/steps"].interval.mean > 1, "it ends higher"
    assert f"measured {both['ETR'].interval.mean:.2f}".replace("0.", ".") in page
    tokens = [learnt[tuned]["TTB100/tokens"]]
    tokens += [
        as_on_page(results, "beliefs by domain", domain)[tuned]["TTB100/tokens"]
        for domain in ("math", "code")
    ]
    mixed, math, code = (cell(each).strip("*") for each in tokens)
    assert f"takes {mixed}, {math} and {code}." in " ".join(readme.split())


def rivals_on_pages(results, part, readme, page):
    """A part's comparison with random selection, whose table the README has, and the selection page with coverage."""
    compared = as_on_page(results, part, "mixed")
    check_table(compared, readme)
    for arm, metrics in compared.items():
        row = [*row_of(arm, metrics), cell(metrics["coverage"])]
        assert f"| {' | '.join(row)} |\n" in page, row
    return compared


def test_the_rivals_come_to_what_the_pages_say(results, readme):
    page = (ROOT / "docs" / "selection.md").read_text()
    compared = rivals_on_pages(results, "rivals", readme, page)
    against = as_on_page(results, "rivals", "mixed", rival="bots self-tuned")
    others = ["mopps with retention", "dps", "insight"]
    for arm in [*others, "adarft"]:
        assert against[arm]["BSF100/steps"].holds
        assert against[arm]["BSF100/steps"].interval.mean < 1
    assert all(against[arm][name].holds for arm in others for name in ratio_names("steps", "tokens"))
    half, later = compared["adarft"]["TTB50/tokens"], compared["adarft"]["TTB75/tokens"]
    said = f"half-way ({half.middle:.2f} of its tokens), at three quarters ({later.middle:.2f})".replace(
        "0.", "."
    )
    assert said in " ".join(page.split())
    assert all(each.holds for each in (half, later, compared["adarft"]["BSF100/steps"]))
    assert not any(against["adarft"][f"{name}/steps"].holds for name in ("TTB50", "TTB75"))
    assert against["adarft"]["TTB75/tokens"].holds, "behind at three quarters of the default's gain"
    ends = {arm: compared[arm]["BSF100/steps"].holds for arm in others}
    assert ends == {"mopps with retention": True, "dps": False, "insight": False}


def test_more_rivals_come_to_what_the_pages_say(results, readme):
    page = (ROOT / "docs" / "selection.md").read_text()
    compared = rivals_on_pages(results, "more rivals", readme, page)
    default, filtered = (
        as_on_page(results, "more rivals", "mixed", rival) for rival in ("bots self-tuned", "dynamic filter")
    )
    for arm in ("vade", "cures"):
        assert all(default[arm][name].holds for name in ratio_names("steps", "tokens"))
        assert not compared[arm]["BSF100/steps"].holds
    text = " ".join(page.split())
    for share, said in (("TTB75", "on the way ({} and {};"), ("TTB50", "half-way {} and {})")):
        refilling = [default[arm][f"{share}/tokens"] for arm in ("greso", "speed")]
        assert all(each.holds for each in refilling)
        assert said.format(*(f"{each.middle:.2f}" for each in refilling)) in text
    for arm in ("greso", "speed"):
        assert not any(default[arm][f"{name}/steps"].holds for name in ("TTB50", "TTB75", "BSF100"))
        assert filtered[arm]["TTB75/tokens"].holds
    saved = [f"{filtered[arm]['TTB75/tokens'].middle:.2f}".lstrip("0") for arm in ("greso", "speed")]
    assert "they take {} and {} of its".format(*saved) in text


def test_rivals_by_embeddings_come_to_what_the_pages_say(results, readme):
    page = (ROOT / "docs" / "selection.md").read_text()
    part = "rivals by embeddings"
    compared = rivals_on_pages(results, part, readme, page)
    default, ours = (
        as_on_page(results, part, "mixed", rival) for rival in ("bots self-tuned", "embeddings alone")
    )
    assert all(
        default[arm][name].holds
        for arm in ("dots similarity", "gps")
        for name in ratio_names("steps", "tokens")
    )
    similar = compared["dots similarity"]
    assert similar["TTB100/tokens"].holds
    assert similar["last score"].holds
    assert f"with {similar['TTB100/tokens'].middle:.2f}".replace("0.", ".") in " ".join(page.split())
    assert all(
        ours["dots similarity"][name].holds for name in ("TTB75/tokens", "BSF100/tokens", "BSF100/steps")
    )
    assert not ours["dots similarity"]["TTB75/steps"].holds
    ends = [
        compared["gps"][name].holds for name in ("BSF25/steps", "BSF25/tokens", "BSF100/steps", "last score")
    ]
    assert ends == [True, True, False, False]
    assert f"from {compared['gps']['coverage'].interval.mean:.2f} of".replace("0.", ".") in " ".join(
        page.split()
    )


def test_self_tuned_is_half_way_sooner_and_ends_no_lower_as_the_readme_says(results):
    tuned = as_on_page(results, "does it pay", "mixed", rival="bots")["bots self-tuned"]
    assert tuned["TTB50/tokens"].holds
    assert tuned["TTB50/tokens"].interval.mean < 1
    assert tuned["BSF100/tokens"].interval.mean >= 1


def test_among_hopeless_tasks_the_fixed_curriculum_falls_as_the_selection_page_says(results):
    page = " ".join((ROOT / "docs" / "selection.md").read_text().split())

    def scores(pool, seed, *steps):
        against = results.run((pool, "offline", seed)).against["steps"]
        by_step = dict(zip(against.at, against.scores, strict=True))
        return [by_step[step] for step in steps]

    def said(score):
        return f"{score:.2f}".lstrip("0")

    pools = ("math", "logic", "code")
    runs = np.array([[scores(pool, seed, 0, 60, 120, 150) for seed in range(8)] for pool in pools])
    began, before, low, ended = np.moveaxis(runs, -1, 0)
    assert (low < before).all()
    assert (low < ended).all()
    assert f"in {(low < began).sum()} of {low.size} runs below where it began" in page
    began, before, low, _ = runs[pools.index("math")].T
    assert f"it was {said(before.min())} to {said(before.max())} at step 60" in page
    assert f"and {said(low.min())} to {said(low.max())} at step 120" in page
    assert f"the base model has {said(began.min())} to {said(began.max())}." in page
    first, *others, last = (f"{score:.3f}".lstrip("0") for score in scores("code", 3, 60, 70, 80, 90, 100))
    assert f"it was {first} at step 60 and {', '.join(others)} and {last} at the next four" in page
