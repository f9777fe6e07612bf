"""What the README and the selection page say of the dynamic filter, and of a prior before it, is the study's."""

import numpy as np
import pytest

from pipelines.studies.comparison import ratio_names
from pipelines.studies.markdown import cell
from tests.docs.study_pages import (
    DEFAULT,
    FAMILIES,
    as_on_page,
    check_table,
    on_one_line,
    row_of,
    short,
    tokens_over_random,
)

REPLACED = "prior and replacement"


def test_the_dynamic_filter_costs_tokens_and_nothing_else_as_the_readme_says(results, readme):
    dynamic = as_on_page(results, "selectors", "mixed", rival="bots")["dynamic filter"]
    assert not any(dynamic[f"{figure}/steps"].holds for figure in ("TTB50", "TTB75", "TTB100", "BSF100"))
    assert dynamic["TTB50/tokens"].holds
    on_tokens = as_on_page(results, "selectors", "mixed")
    bots, other = (on_tokens[arm]["TTB100/tokens"].middle for arm in ("bots", "dynamic filter"))
    assert 3.5 < other / bots < 4.5
    text = on_one_line(readme)
    assert "generates four times its tokens" in text
    assert short(f"that {1 - dynamic['ETR'].interval.mean:.2f}") in text


def test_the_selection_page_has_what_selection_and_filter_add_to_each_other(results, readme, selection_page):
    arms = ["random", "bots self-tuned", "dynamic filter", "self-tuned and filter"]
    alone, filtered, both = arms[1:]
    compared = as_on_page(results, "selection and filter", "mixed")
    for arm in arms:
        row = [*row_of(arm, compared[arm])[:-1], tokens_over_random(results, arm)]
        assert f"\n| {' | '.join(row)} |\n" in selection_page, row
    assert f"[{compared[both]['best score'].interval.mean:.3f}](docs/selection.md" in readme
    for other in (alone, filtered):
        metrics = as_on_page(results, "selection and filter", "mixed", rival=other)[both]
        assert metrics["TTB75/steps"].holds
        assert metrics["TTB75/steps"].middle < 1, "fewer steps"
        assert metrics["BSF100/steps"].holds
        assert metrics["BSF100/steps"].interval.mean > 1, "it ends higher"
    against = as_on_page(results, "selection and filter", "mixed", rival=alone)
    assert not any(against[filtered][name].holds for name in [*ratio_names("steps"), "last score"])
    assert "No difference between the two is shown in steps." in on_one_line(selection_page)


def test_the_pages_have_what_a_leaner_filter_and_a_prior_add(results, readme, selection_page):
    text = on_one_line(selection_page)
    alone, filtered, lean, prior, both = (
        "bots self-tuned", "self-tuned and filter", "self-tuned and lean filter", DEFAULT, "prior and lean filter",
    )  # fmt: skip
    leaner, informed = "a leaner filter", "a prior from the reference models"
    compared = as_on_page(results, leaner, "mixed") | as_on_page(results, informed, "mixed")
    for arm in (lean, prior, both):
        row = [*row_of(arm, compared[arm])[:-1], tokens_over_random(results, arm)]
        assert f"\n| {' | '.join(row)} |\n" in selection_page, row
    against = as_on_page(results, leaner, "mixed", rival=alone)[lean]
    assert against["BSF100/steps"].holds
    assert against["BSF100/steps"].middle > 1
    assert against["TTB50/tokens"].holds
    assert against["TTB75/steps"].holds
    assert not as_on_page(results, informed, "mixed", rival=alone)[lean]["TTB75/steps"].holds
    assert not against["last score"].holds
    steps, tokens, half = (
        short(cell(against[name])) for name in ("TTB75/steps", "TTB100/tokens", "TTB50/tokens")
    )
    assert (
        f"takes {steps} of that one's steps to three quarters of its gain, beyond chance in one of two"
        in text
    )
    assert (
        f"it takes as many tokens ({tokens}); only half-way it takes more, {half.split()[0]} of them" in text
    )
    assert not as_on_page(results, leaner, "mixed", rival=filtered)[lean]["BSF100/steps"].holds
    against = as_on_page(results, informed, "mixed", rival=alone)[both]
    for name in ("TTB50/steps", "TTB50/tokens", "BSF100/steps", "last score"):
        assert against[name].holds, name
    half = [short(cell(against[name])) for name in ("TTB50/steps", "TTB50/tokens")]
    assert "takes {} of its steps and {} of its tokens".format(*half) in text
    informed_only = as_on_page(results, informed, "mixed", rival=alone)[prior]
    assert all(informed_only[name].holds for name in ("BSF25/steps", "BSF25/tokens"))
    assert not any(informed_only[name].holds for name in ("TTB75/tokens", "BSF100/steps", "last score"))
    assert f"it takes {short(cell(informed_only['TTB75/tokens']))} of its tokens" in text
    assert as_on_page(results, "does it pay", "mixed", rival=alone)[prior]["TTB75/tokens"].holds
    assert "beyond chance in one of two parts of the study" in text
    check_table({arm: compared[arm] for arm in (prior, both)}, readme)


def test_the_pages_have_what_filters_add_to_the_default(results, readme, selection_page):
    text = on_one_line(selection_page)
    lean, one, part = "prior and lean filter", "prior and one request", "one larger request"
    compared = as_on_page(results, part, "mixed")
    row = [*row_of(one, compared[one])[:-1], tokens_over_random(results, one)]
    assert f"\n| {' | '.join(row)} |\n" in selection_page, row
    against = as_on_page(results, part, "mixed", rival=DEFAULT)
    for arm in (lean, one):
        assert against[arm]["BSF100/steps"].holds
        assert against[arm]["last score"].holds
    last = {arm: f"{compared[arm]['last score'].interval.mean:.3f}" for arm in (DEFAULT, lean, one)}
    assert f"beyond chance (last score {last[lean]}, {last[DEFAULT]})" in on_one_line(readme)
    assert not any(against[lean][f"{name}/tokens"].holds for name in ("TTB50", "TTB75", "TTB100"))
    half, more, time = (
        short(cell(against[arm][name]))
        for arm, name in ((lean, "TTB50/tokens"), (one, "TTB50/tokens"), (one, "TTB75/seconds"))
    )
    assert f"(last score .{last[lean][2:]}, .{last[DEFAULT][2:]}), half-way in {half} of its tokens" in text
    assert f"filter (last score .{last[one][2:]}), beyond chance above the prior alone" in text
    assert all(against[one][name].holds for name in ("TTB50/tokens", "TTB75/seconds"))
    assert f"takes {more} of that one's tokens half-way and {time} of its seconds to three quarters" in text
    seconds = as_on_page(results, "does it pay", "mixed")
    prior, uniform = (short(cell(seconds[arm]["TTB100/seconds"])) for arm in (DEFAULT, "bots self-tuned"))
    assert (
        f"the prior takes {prior} of random's to random's best score, where the uniform one takes {uniform}"
        in text
    )


def test_the_selection_page_has_how_soon_a_prior_tells_tasks_apart(results, selection_page):
    steps = np.array([1, 2, 3, 5, 8, 10, 15, 50])
    assert f"\n| step | {' | '.join(map(str, steps))} |\n" in selection_page
    for arm in ("bots self-tuned", DEFAULT):
        effective = np.mean([results.run(("mixed", arm, seed)).etr[steps - 1] for seed in range(8)], axis=0)
        row = [arm, *(short(f"{share:.2f}") for share in effective)]
        assert f"\n| {' | '.join(row)} |\n" in selection_page, row


def test_a_prior_in_one_family_comes_to_what_the_page_says(results, selection_page):
    text = on_one_line(selection_page)
    part, arms = "a prior by domain", (DEFAULT, "bots self-tuned")
    for domain in ("math", "logic", "code"):
        compared = as_on_page(results, part, domain)
        assert [compared[arm]["TTB100/tokens"].holds for arm in arms] == [domain != "logic"] * 2
        tokens = [short(cell(compared[arm]["TTB100/tokens"])) for arm in arms]
        scores = [short(f"{compared[arm]['best score'].interval.mean:.3f}") for arm in arms]
        said = "on {} {} of random's tokens where the uniform prior takes {}, and ends at {} where that ends at {}"
        assert said.format(domain, *tokens, *scores) in text
        against = as_on_page(results, part, domain, rival="bots self-tuned")[DEFAULT]
        assert not any(against[name].holds for name in ratio_names("steps", "tokens"))


def test_the_pages_have_what_replacing_each_group_comes_to(results, readme, selection_page):
    compared = as_on_page(results, "replacing each", "mixed")
    row = [*row_of(REPLACED, compared[REPLACED])[:-1], tokens_over_random(results, REPLACED)]
    assert f"\n| {' | '.join(row)} |\n" in selection_page, row
    check_table({REPLACED: compared[REPLACED]}, readme)
    against = as_on_page(results, "replacing each", "mixed", rival=DEFAULT)[REPLACED]
    assert [name for name in ratio_names("steps", "tokens") if against[name].holds] == ["BSF100/steps"]
    assert against["BSF100/steps"].middle > 1
    lean = as_on_page(results, "replacing each", "mixed", rival="prior and lean filter")[REPLACED]
    assert not any(
        lean[name].holds for name in ("TTB75/tokens", "BSF100/tokens", "BSF100/steps", "last score")
    )
    assert f"it takes {short(cell(lean['TTB75/tokens']))} of that one's tokens" in on_one_line(selection_page)


@pytest.mark.parametrize("domain", FAMILIES)
def test_the_pages_have_what_replacing_each_group_comes_to_by_domain(domain, results, readme, selection_page):
    part, text = "replacing each in one family", on_one_line(selection_page)
    compared = as_on_page(results, part, domain)
    row = ["", *row_of(REPLACED, compared[REPLACED]), tokens_over_random(results, REPLACED, pool=domain)]
    assert f"\n| {' | '.join(row)} |\n" in selection_page, row
    default, filtered = (
        as_on_page(results, part, domain, rival)[REPLACED] for rival in (DEFAULT, "dynamic filter")
    )
    assert default["BSF100/steps"].holds
    assert default["BSF100/steps"].middle > 1
    assert default["BSF100/tokens"].holds == (domain != "math")
    assert default["BSF100/tokens"].middle < 1
    of_default, of_filter = (
        ("of the default's on math", "of its tokens on math") if domain == "math" else [f"on {domain}"] * 2
    )
    assert f"{short(cell(default['TTB75/tokens']))} {of_default}" in text
    assert filtered["TTB50/tokens"].holds
    assert f"{short(cell(filtered['TTB50/tokens']))} {of_filter}" in text
    if domain == "logic":
        assert default["last score"].holds
        assert compared[REPLACED]["last score"].holds
        last = [f"{compared[arm]['last score'].interval.mean:.3f}" for arm in (REPLACED, DEFAULT, "random")]
        assert short("({}; the default {}, random {})".format(*last)) in text
        assert f"(last score {last[0]}, {last[2]}), all beyond chance, for {row[-1]} times" in on_one_line(
            readme
        )


@pytest.mark.parametrize("domain", FAMILIES)
def test_the_selection_page_has_what_the_dynamic_filter_comes_to_by_domain(
    domain, results, readme, selection_page
):
    filtered = "dynamic filter"
    compared = as_on_page(results, "domains", domain)
    for arm in ("random", DEFAULT, filtered):
        tokens = tokens_over_random(results, arm, pool=domain)
        row = [domain if arm == "random" else "", *row_of(arm, compared[arm]), tokens]
        assert f"\n| {' | '.join(row)} |\n" in selection_page, row
    against = as_on_page(results, "domains", domain, rival=DEFAULT)[filtered]
    at_equal_steps, at_equal_tokens = (against[f"BSF100/{cost}"] for cost in ("steps", "tokens"))
    assert at_equal_steps.holds == (domain != "logic")
    assert at_equal_tokens.holds
    assert (at_equal_steps.middle > 1) == (domain != "math"), "it ends higher on code, and perhaps on logic"
    assert at_equal_tokens.middle < 1, "within the same tokens it ends below on all three"
    text = on_one_line(readme)
    assert "in as many tokens it ends lower, as it does on math either way" in text
    of_three = as_on_page(results, "replacing each in one family", domain)[filtered]
    differs = {
        name
        for name in ("TTB100/steps", "TTB100/tokens")
        if compared[filtered][name].holds != of_three[name].holds
    }
    assert differs == {"math": {"TTB100/tokens"}, "logic": {"TTB100/steps"}, "code": set()}[domain]
    if domain == "logic":
        assert compared[filtered]["BSF100/steps"].holds
        assert compared[filtered]["BSF100/steps"].middle > 1, "it ends above random selection"
    if domain == "code":
        times = f"{against['TTB100/tokens'].middle:.1f}"
        assert f"takes {times} times its tokens to get as high as that" in on_one_line(selection_page)


@pytest.mark.parametrize(
    ("arm", "pool", "most", "said"),
    [
        ("dynamic filter", "code", 192, "had {:.0f} of 32 groups at most"),
        ("dynamic filter", "logic", 192, "had {:.0f} of 32 groups at most"),
        (REPLACED, "code", 128, "behind the default {:.0f} and"),
        (REPLACED, "logic", 128, "and {:.0f} (of the default's own groups"),
        (DEFAULT, "code", 32, "(of the default's own groups {:.0f} and"),
        (DEFAULT, "logic", 32, "and {:.0f} have signal there)"),
        ("speed", "mixed", 192, "its batches had {:.0f} of 32 groups at most"),
    ],
)
def test_batches_are_no_fuller_than_the_page_says(arm, pool, most, said, results, selection_page):
    with_signal = most * np.stack([results.run((pool, arm, seed)).etr for seed in range(8)])
    assert said.format(np.minimum(with_signal, 32).mean()) in on_one_line(selection_page)
    if arm == "speed":
        used_up = short(f"{np.mean(with_signal < 31.5):.2f}")
        assert f"used up its four requests in {used_up} of the steps" in on_one_line(selection_page)


@pytest.mark.parametrize("arm", ["dynamic filter", REPLACED])
@pytest.mark.parametrize("pool", ["mixed", "math"])
def test_batches_are_full_on_the_mixed_pool_and_on_math(arm, pool, results):
    most = 192 if arm == "dynamic filter" else 128
    assert min(most * results.run((pool, arm, seed)).etr.min() for seed in range(8)) > 31.5
