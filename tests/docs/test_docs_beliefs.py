"""The figures of the pages on beliefs are the study's."""

import pytest

from pipelines.studies.comparison import LAST_SCORE, ratio_names
from pipelines.studies.markdown import cell
from tests.docs.study_pages import DEFAULT, FAMILIES, as_on_page, check_families, on_one_line, short

IN_ONE_FAMILY = "a share of its own in one family"


def test_batches_from_many_cells_do_what_the_pages_say(results, readme, beliefs_page):
    compared = as_on_page(results, "many cells", "mixed")
    own = "own share without anchors"
    prior = DEFAULT
    compared = {
        **compared,
        own: as_on_page(results, "a share of its own", "mixed")[own],
        prior: as_on_page(results, "a prior from the reference models", "mixed")[prior],
    }
    rows = {
        ("Beta, uniform prior", "yes"): "bots self-tuned",
        (
            "Beta, the default: [a prior from the reference models](selection.md#a-prior-from-the-reference-models)",
            "yes",
        ): prior,
        ("state space", "yes"): "state space",
        ("state space, `crowding` ¼", "yes"): "many cells",
        ("Beta, self-tuned", "no"): "self-tuned without anchors",
        ("state space", "no"): "state space without anchors",
        ("state space, `crowding` ¼", "no"): "many cells without anchors",
        ("state space, `crowding` 1, `own_share` ½", "no"): own,
    }
    for (belief, anchors), arm in rows.items():
        metrics = compared[arm]
        assert metrics["TTB100/steps"].holds
        assert metrics["TTB100/tokens"].holds
        costs = [cell(metrics[f"TTB100/{cost}"]).strip("*") for cost in ("steps", "tokens")]
        figures = [*costs, cell(metrics["best score"], 3), f"{metrics['ETR'].interval.mean:.2f}"]
        row = [belief, anchors, *figures, cell(metrics["Brier"], 3).split(" ")[0]]
        assert short(f"| {' | '.join(row)} |\n") in beliefs_page, row
    crowded = "many cells without anchors"
    uncrowded, beta, with_anchors = (
        as_on_page(results, "many cells", "mixed", rival)[crowded]
        for rival in ("state space without anchors", "self-tuned without anchors", "bots self-tuned")
    )
    better = [("TTB75", uncrowded), ("BSF50", uncrowded), ("BSF50", beta)]
    assert all(against[f"{name}/{cost}"].holds for name, against in better for cost in ("steps", "tokens"))
    names = [f"{name}/{cost}" for name in ("TTB100", "BSF100") for cost in ("steps", "tokens")]
    assert not any(with_anchors[name].holds for name in ratio_names("steps", "tokens"))
    with_them = as_on_page(results, "many cells", "mixed", "state space")["many cells"]
    assert not any(with_them[name].holds for name in names)
    against = as_on_page(results, "many cells", "mixed", "bots self-tuned")["many cells"]
    assert against["BSF100/tokens"].holds
    assert not against["BSF100/steps"].holds
    tokens, best = compared[crowded]["TTB100/tokens"], compared[crowded]["best score"].interval.mean
    said = f"takes {cell(tokens).strip('*')} of random's tokens and ends at {best:.3f}, nearly as high as the"
    assert said in on_one_line(readme)


def test_a_share_of_its_own_comes_to_what_the_page_says(results):
    beta, crowded = (
        as_on_page(results, "a share of its own", "mixed", rival)["own share without anchors"]
        for rival in ("self-tuned without anchors", "many cells without anchors")
    )
    names = ratio_names("steps", "tokens")
    sooner = {f"{name}/{cost}" for name in ("TTB50", "BSF25", "BSF50") for cost in ("steps", "tokens")}
    assert {name for name in names if beta[name].holds} == sooner
    assert beta["TTB50/tokens"].middle < 1 < beta["BSF50/tokens"].middle
    assert not any(crowded[name].holds for name in names)


@pytest.mark.parametrize("domain", FAMILIES)
def test_pools_of_one_family_come_to_what_the_pages_say(domain, results, readme, beliefs_page):
    compared = as_on_page(results, "beliefs by domain", domain)
    own = "own share without anchors"
    names = {
        "random": "random selection",
        "self-tuned without anchors": "Beta, self-tuned, no reference models",
        "many cells without anchors": "state space, `crowding` ¼, no reference models",
        "many cells": "state space, `crowding` ¼, with reference models",
        "bots self-tuned": "Beta, uniform prior, with reference models",
        DEFAULT: "Beta, the default with reference models",
        own: "state space, `crowding` 1, `own_share` ½, no reference models",
    }
    compared = {
        **compared,
        own: as_on_page(results, IN_ONE_FAMILY, domain)[own],
        DEFAULT: as_on_page(results, "a prior by domain", domain)[DEFAULT],
    }
    check_families(beliefs_page, names, compared, domain)
    for arm in names.keys() - {"random"}:
        better = [compared[arm][f"{figure}/tokens"].holds for figure in ("TTB100", "BSF100")]
        assert better == [domain != "logic"] * 2, arm
    against = as_on_page(results, "beliefs by domain", domain, "bots self-tuned")["many cells"]
    half = against["TTB50/tokens"]
    assert half.holds == (domain == "math")
    if half.holds:
        said = f"the state-space belief takes {cell(half).strip('*')} of the Beta update's tokens (uniform prior)"
        assert said in on_one_line(beliefs_page)
    beta = as_on_page(results, "beliefs by domain", domain, "self-tuned without anchors")
    other = beta["many cells without anchors"]
    differs = {name for name in ratio_names("steps", "tokens") if other[name].holds}
    assert differs == ({"BSF25/steps", "BSF25/tokens"} if domain == "logic" else set())
    crowded = as_on_page(results, IN_ONE_FAMILY, domain, "many cells without anchors")[own]
    differs = {name for name in [*ratio_names("steps", "tokens"), LAST_SCORE] if crowded[name].holds}
    assert differs == ({LAST_SCORE} if domain == "code" else set())
    if domain == "code":
        last = [compared[arm][LAST_SCORE].interval.mean for arm in (own, "many cells without anchors")]
        assert short("(last score {:.3f}, {:.3f})".format(*last)) in beliefs_page
    if domain != "logic":
        tokens = cell(compared["many cells without anchors"]["TTB100/tokens"]).strip("*")
        assert f"on {domain} {tokens}" in on_one_line(readme)


def test_logic_s_plateau_is_left_in_as_many_seeds_as_the_page_says(results, beliefs_page):
    page = on_one_line(beliefs_page)
    best, last = {}, {}
    for arm in ("many cells without anchors", "self-tuned without anchors"):
        scores = [results.run(("logic", arm, seed)).against["steps"].scores for seed in range(8)]
        best[arm] = sorted(float(max(each)) for each in scores)[-3:]
        assert [sum(max(each) > 0.62 for each in scores), len(best[arm])] == [3, 3]
        last[arm] = [float(each[-1]) for each in scores if max(each) > 0.62]
    ends = [short(f"{end(best['many cells without anchors']):.3f}") for end in (min, max)]
    assert "to {} to {}, by learning".format(*ends) in page
    assert all(float(ends[0]) <= each <= float(ends[1]) for each in best["self-tuned without anchors"])
    held = [short(f"{end(last['many cells without anchors']):.3f}") for end in (min, max)]
    assert "three still have {} to {}".format(*held) in page
    assert sum(each > 0.6 for each in last["self-tuned without anchors"]) == 1


def test_logic_on_sixteen_seeds_comes_to_what_the_pages_say(results, readme, beliefs_page):
    compared = as_on_page(results, "all sixteen seeds", "logic")
    own = "own share without anchors"
    rows = {
        "random": "random",
        "state space, `crowding` ¼": "many cells without anchors",
        "state space, `crowding` 1, `own_share` ½": own,
    }
    for name, arm in rows.items():
        best, last = compared[arm]["best score"], compared[arm]["last score"]
        above = f"{sum(best.values > 0.62)} of {len(best.values)}"
        figures = [short(cell(each, 3)) for each in (best, last)]
        assert f"| {' | '.join([name, above, *figures])} |\n" in beliefs_page, (name, above, figures)
        if arm != "random":
            assert compared[arm]["BSF100/steps"].holds
            assert last.holds
    fresh = as_on_page(results, "fresh seeds", "logic")
    lasts = {arm: short(f"{fresh[arm]['last score'].interval.mean:.3f}") for arm in rows.values()}
    text = on_one_line(beliefs_page)
    assert "confirmed ({1} and {2}, random {0})".format(*lasts.values()) in text
    assert not any(fresh[arm]["last score"].holds for arm in rows.values())
    lowest = sorted(fresh[own]["last score"].values)[:2]
    assert short(f"to {lowest[1]:.3f} and {lowest[0]:.3f}.") in text
    more = fresh[own]["BSF100/steps"]
    assert more.holds
    assert f"by {100 * (more.interval.mean - 1):.1f} %, beyond chance" in text
    random, shared = (f"{compared[arm]['best score'].interval.mean:.3f}" for arm in ("random", own))
    assert f"leave random's plateau (best score {shared}, random {random}, beyond chance)" in on_one_line(
        readme
    )


def test_prompts_alone_do_what_the_pages_say(results, readme, beliefs_page, selection_page):
    arm = "embeddings alone"
    metrics = as_on_page(results, "prompts alone", "mixed")[arm]
    ratios = [
        f"{kind}/{cost}" for kind in ("TTB50", "TTB75", "TTB100", "BSF100") for cost in ("steps", "tokens")
    ]
    assert all(metrics[name].holds for name in ratios)
    steps, tokens = (cell(metrics[f"TTB100/{cost}"]).strip("*") for cost in ("steps", "tokens"))
    best = cell(metrics["best score"], 3)
    assert f"takes {tokens} of random's tokens and ends at {best.split()[0]}." in on_one_line(readme)
    said = f"takes {steps} of random's steps and {tokens} of its tokens, and its best score is {best}"
    assert short(f"{said} with an ETR of {metrics['ETR'].interval.mean:.2f}, all better") in on_one_line(
        beliefs_page
    )
    assert short(f"with {tokens.split()[0]} of its tokens in eight") in on_one_line(selection_page)
    beta, default = (
        as_on_page(results, "prompts alone", "mixed", rival)[arm]
        for rival in ("self-tuned without anchors", "bots self-tuned")
    )
    names = ratio_names("steps", "tokens")
    assert {name for name in names if beta[name].holds} == {"TTB50/steps"}
    assert beta["TTB50/steps"].interval.mean < 1
    assert all(default[name].holds for name in names if name.endswith("tokens"))
    assert f"half-way it takes {cell(default['TTB50/tokens']).strip('*')} of that one's" in on_one_line(
        beliefs_page
    )
