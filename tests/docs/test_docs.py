"""The figures of the README and the pages are the study's."""

import numpy as np
import pytest

from pipelines.studies.markdown import cell
from tests.docs.study_pages import (
    DEFAULT,
    ROOT,
    STUDY,
    as_on_page,
    check_table,
    on_one_line,
    short,
    tokens_over_random,
)

OTHERS = ["mopps", "dots", "offline"]


def test_the_readme_has_the_study_s_figures(results, readme):
    compared = as_on_page(results, "selectors", "mixed")
    assert set(compared) == {"random", "bots", DEFAULT, *OTHERS, "dynamic filter"}
    check_table(compared, readme)
    first = as_on_page(results, "does it pay", "mixed")
    check_table(first, readme)
    text = on_one_line(readme)
    seconds = {arm: cell(first[arm]["TTB100/seconds"]) for arm in (DEFAULT, "bots self-tuned", "bots")}
    assert all(each.startswith("**") for each in seconds.values()), "it holds"
    default, tuned, bots = (each.strip("*") for each in seconds.values())
    said = f"the default takes {default} of random's, `bots self-tuned` {tuned} and `bots` {bots}, each beside runs"
    assert said in text
    for arm in set(compared) - {"random", *seconds}:
        assert not len(compared[arm]["TTB100/seconds"].values)
    assert results.repeats(STUDY.plan()) == (48, 16, 27)
    assert f"has all {len(list(STUDY.plan()))} runs" in text
    assert all(results.has(STUDY, key) for key in STUDY.plan())
    assert "the 16 of random and of `bots self-tuned` that were made again for their seconds" in text
    first = [results.run(("mixed", "random", seed)).against["steps"].scores[0] for seed in range(8)]
    assert f"All start at {np.mean(first):.2f}." in text
    circle = as_on_page(results, "a wider circle", "mixed")
    best = circle["self-tuned, no cool-down"]["best score"].interval.mean
    assert f"came with a cool-down (best score then {best:.3f})" in text


def test_the_readme_has_the_domains_figures(results, readme, selection_page):
    arms = ["bots", DEFAULT]
    text = on_one_line(readme)
    for domain, said in (
        ("math", "the default takes {} of random's tokens on math"),
        ("code", "and {} on code, and ends higher"),
    ):
        compared = as_on_page(results, "domains", domain)
        tokens = cell(compared[DEFAULT]["TTB100/tokens"])
        assert tokens.startswith("**"), "it holds"
        assert said.format(tokens.strip("*")) in text
        assert all(compared[arm]["BSF100/tokens"].holds for arm in arms), "either ends higher"
    logic = as_on_page(results, "domains", "logic")
    for arm in arms:
        assert not logic[arm]["TTB100/tokens"].holds
        assert not logic[arm]["BSF100/tokens"].holds
    assert all(logic[DEFAULT][f"BSF25/{cost}"].holds for cost in ("steps", "tokens"))
    assert logic[DEFAULT]["BSF25/tokens"].middle > 1, "it is ahead in the first quarter"
    tuned = as_on_page(results, "a prior by domain", "logic")
    half = [tuned[arm]["TTB50/tokens"] for arm in (DEFAULT, "bots self-tuned")]
    assert all(each.holds for each in half)
    page = on_one_line(selection_page)
    said = "half of random's gain in {} of its tokens, {} with the uniform prior"
    assert said.format(*(short(f"{each.middle:.2f}") for each in half)) in page


@pytest.mark.parametrize("domain", ["math", "logic", "code"])
def test_the_others_by_domain_are_no_sooner_and_end_below_the_default_as_the_readme_says(
    domain, results, readme
):
    text = on_one_line(readme)
    assert (
        "`mopps`, `dots` and `offline` reach random's best score sooner on none of the three beyond chance, and "
        "end below the default on math and code; `dots` is sooner half-way there"
    ) in text
    compared = as_on_page(results, "domains", domain)
    below = as_on_page(results, "domains", domain, rival=DEFAULT)
    assert compared["dots"]["TTB50/steps"].holds == (domain != "logic")
    for arm in OTHERS:
        for cost in ("steps", "tokens"):
            figure = compared[arm][f"TTB100/{cost}"]
            assert not figure.holds or figure.middle > 1
            figure = below[arm][f"BSF100/{cost}"]
            assert domain == "logic" or (figure.holds and figure.middle < 1)


def test_other_cool_downs_gain_nothing_as_the_page_on_selection_says(results, selection_page):
    page = on_one_line(selection_page)
    assert (
        "Neither 0.1 with a cool-down of 15 steps nor self-tuning with one of 40 differed from plain 0.1 in any metric "
        "beyond chance, and the latter fell short of the best score of 0.1 in six of the eight seeds"
    ) in page
    longer, shorter = "self-tuned, cool-down 40", "bots, cool-down 15"
    compared = as_on_page(results, "a wider circle", "mixed", rival="bots")
    for arm in (longer, shorter):
        for name in ("TTB50", "TTB75", "TTB100", "BSF25", "BSF50", "BSF100"):
            for cost in ("steps", "tokens"):
                assert not compared[arm][f"{name}/{cost}"].holds, (arm, name, cost)
    assert compared[longer]["TTB100/steps"].interval.never == 6


def test_the_tuning_page_has_the_figures_of_the_ablation_of_lambda(results, tuning_page):
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
        assert f"\n| {' | '.join(row)} |" in tuning_page, row
    assert best["lam 0"] < min(best["bots"], best["lam .05"]), "it ends lower"
    assert best["bots"] > best["lam .2"] > best["lam .5"] > best["lam 1"], "it fades"


def test_the_tuning_page_has_the_figures_of_the_ablation_of_p_star(results, tuning_page):
    arms = {f"p* .{tenth}": f"0.{tenth}" for tenth in (3, 4, 6, 7)} | {"bots": "0.5", "random": "random"}
    compared = as_on_page(results, "ablation of p*", "mixed")
    best = {}
    for arm, named in arms.items():
        metrics = compared[arm]
        best[arm] = metrics["best score"].interval.mean
        row = [named, cell(metrics["best score"], 3), f"{metrics['ETR'].interval.mean:.2f}"]
        cost = "1" if arm == "random" else cell(metrics["TTB100/tokens"])
        row += [cost, tokens_over_random(results, arm, seeds=4)]
        assert f"\n| {' | '.join(row)} |\n" in tuning_page, row
    assert best["p* .3"] < min(best["p* .4"], best["p* .7"]) < max(best["bots"], best["p* .6"])


@pytest.mark.parametrize("ours", ["bots", DEFAULT])
def test_both_end_above_the_others_as_the_readme_says(ours, results):
    others = as_on_page(results, "selectors", "mixed", rival=ours)
    for arm in OTHERS:
        assert all(others[arm][f"BSF100/{cost}"].holds for cost in ("steps", "tokens"))
        assert others[arm]["BSF100/steps"].interval.mean < 1


def test_without_reference_models_selection_pays_as_the_pages_say(results, readme, selection_page):
    page = on_one_line(selection_page)
    fixed, tuned = "bots without anchors", "self-tuned without anchors"
    learnt = as_on_page(results, "self-tuning without reference models", "mixed")
    share = {}
    for arm, metrics in (as_on_page(results, "does it pay", "mixed") | learnt).items():
        if arm == "random":
            continue
        tokens = metrics["TTB100/tokens"]
        assert tokens.holds
        share[arm] = short(f"{tokens.interval.mean:.2f}")
    assert (
        f"with {share[fixed]} of its tokens by domain and level, with {share['bots']} by anchors; tuned, with "
        f"{share[tuned]} and {share['bots self-tuned']}."
    ) in page
    both = as_on_page(results, "self-tuning without reference models", "mixed", rival=fixed)[tuned]
    assert both["BSF100/steps"].holds
    assert both["BSF100/steps"].interval.mean > 1, "it ends higher"
    assert short(f"measured {both['ETR'].interval.mean:.2f}") in page
    tokens = [learnt[tuned]["TTB100/tokens"]]
    tokens += [
        as_on_page(results, "beliefs by domain", domain)[tuned]["TTB100/tokens"]
        for domain in ("math", "code")
    ]
    mixed, math, code = (cell(each).strip("*") for each in tokens)
    assert f"takes {mixed}, {math} and {code}." in on_one_line(readme)


def test_self_tuned_is_half_way_sooner_and_ends_no_lower_as_the_readme_says(results, readme):
    against = as_on_page(results, "does it pay", "mixed", rival="bots")
    arms = [against["bots self-tuned"], against[DEFAULT]]
    for arm in arms:
        assert arm["TTB50/tokens"].holds
        assert arm["TTB50/tokens"].interval.mean < 1
        assert arm["BSF100/tokens"].interval.mean >= 1
    tuned, default = (cell(arm["TTB50/tokens"]).strip("*") for arm in arms)
    assert f"in {tuned} of their tokens, with the prior too in {default}, both beyond chance" in on_one_line(
        readme
    )


def test_the_readme_s_winners_are_the_tables(results, readme):
    table = readme.partition("What is least on the way")[2].partition("All selectors,")[0]
    compared, last = {}, {}
    for part in ("does it pay", "a prior from the reference models", "one larger request", "replacing each"):
        compared |= as_on_page(results, part, "mixed")
    with_filter = ["prior and lean filter", "prior and replacement", "prior and one request"]
    tokens, seconds, *steps = (
        f"{compared[arm][name].middle:.2f}"
        for arm, name in [(DEFAULT, "TTB100/tokens"), (DEFAULT, "TTB100/seconds")]
        + [(arm, "TTB100/steps") for arm in (DEFAULT, *with_filter)]
    )
    assert f"| {tokens} of random's |" in table
    assert f"| {seconds} of random's |" in table
    assert f"| {min(steps)} to {max(steps)} of random's |" in table
    assert tokens == min(f"{each['TTB100/tokens'].middle:.2f}" for each in compared.values())
    for part, arms in (("one larger request", with_filter[::2]), ("replacing each", with_filter[:2])):
        against = as_on_page(results, part, "mixed", rival=DEFAULT)
        assert not any(against[arm]["TTB100/steps"].holds for arm in arms)
    for arm in (*with_filter[:2], DEFAULT, "random"):
        last[arm] = f"{compared[arm]['last score'].interval.mean:.3f}"
    lean, replacing, default, random = last.values()
    assert f"| {lean}, {replacing}; default {default}, random {random} |" in table
    overview = (ROOT / "docs" / "study.md").read_text().partition("## At a glance")[2]
    (logic,) = (
        line for line in overview.partition("TTB100 on")[0].splitlines() if line.startswith("| logic |")
    )
    assert logic.split(" | ")[2] == "nothing", "in tokens"
