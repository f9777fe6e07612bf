"""What the README and the selection page say of the rivals is the study's."""

import pytest

from pipelines.studies.comparison import ratio_names
from pipelines.studies.markdown import cell
from tests.docs.study_pages import (
    DEFAULT,
    FAMILIES,
    as_on_page,
    check_families,
    check_table,
    on_one_line,
    row_of,
    short,
    tokens_over_random,
)


def rivals_on_pages(results, part, readme, page):
    """A part's comparison with random selection, whose table the README has, and the selection page with coverage."""
    compared = as_on_page(results, part, "mixed")
    check_rivals(compared, readme, page)
    return compared


def check_rivals(compared, readme, page):
    """The README has a row for every arm, and the selection page the same with coverage."""
    check_table(compared, readme)
    for arm, metrics in compared.items():
        row = [*row_of(arm, metrics), cell(metrics["coverage"])]
        assert f"| {' | '.join(row)} |\n" in page, row


def test_the_rivals_come_to_what_the_pages_say(results, readme, selection_page):
    compared = rivals_on_pages(results, "rivals", readme, selection_page)
    against = as_on_page(results, "rivals", "mixed", rival=DEFAULT)
    others = ["mopps with retention", "dps", "insight"]
    for arm in [*others, "adarft"]:
        assert against[arm]["BSF100/steps"].holds
        assert against[arm]["BSF100/steps"].interval.mean < 1
    assert all(against[arm][name].holds for arm in others for name in ratio_names("steps", "tokens"))
    half, later = compared["adarft"]["TTB50/tokens"], compared["adarft"]["TTB75/tokens"]
    said = f"half-way ({half.middle:.2f} of its tokens), at three quarters ({later.middle:.2f})".replace(
        "0.", "."
    )
    assert said in on_one_line(selection_page)
    assert all(each.holds for each in (half, later, compared["adarft"]["BSF100/steps"]))
    half, later = (against["adarft"][f"{name}/tokens"] for name in ("TTB50", "TTB75"))
    assert half.holds
    assert later.holds
    assert later.interval.never == 4
    assert f"Half-way it takes {half.middle:.2f} of the default's tokens" in on_one_line(selection_page)
    assert "in four of eight seeds it never reaches three quarters of the default's gain" in on_one_line(
        selection_page
    )
    ends = {arm: compared[arm]["BSF100/steps"].holds for arm in others}
    assert ends == {"mopps with retention": True, "dps": False, "insight": False}


def test_more_rivals_come_to_what_the_pages_say(results, readme, selection_page):
    compared = rivals_on_pages(results, "more rivals", readme, selection_page)
    default, filtered = (
        as_on_page(results, "more rivals", "mixed", rival) for rival in (DEFAULT, "dynamic filter")
    )
    for arm in ("vade", "cures"):
        assert all(default[arm][name].holds for name in ratio_names("steps", "tokens"))
        assert not compared[arm]["BSF100/steps"].holds
    text = on_one_line(selection_page)
    for share, said in (("TTB75", "on the way ({} and {};"), ("TTB50", "half-way {} and {})")):
        refilling = [default[arm][f"{share}/tokens"] for arm in ("greso", "speed")]
        assert all(each.holds for each in refilling)
        assert said.format(*(f"{each.middle:.2f}" for each in refilling)) in text
    for arm in ("greso", "speed"):
        held = [default[arm][f"{name}/steps"].holds for name in ("TTB50", "TTB75", "BSF100")]
        assert held == [False, True, False]
        assert filtered[arm]["TTB75/tokens"].holds
    steps = [f"{default[arm]['TTB75/steps'].middle:.2f}" for arm in ("greso", "speed")]
    assert "To three quarters of its gain they take {} and {} of its steps".format(*steps) in text
    saved = [short(f"{filtered[arm]['TTB75/tokens'].middle:.2f}") for arm in ("greso", "speed")]
    assert "they take {} and {} of its".format(*saved) in text


def test_rivals_by_embeddings_come_to_what_the_pages_say(results, readme, selection_page):
    part = "rivals by embeddings"
    compared = rivals_on_pages(results, part, readme, selection_page)
    default, ours = (as_on_page(results, part, "mixed", rival) for rival in (DEFAULT, "embeddings alone"))
    assert all(
        default[arm][name].holds
        for arm in ("dots similarity", "gps")
        for name in ratio_names("steps", "tokens")
    )
    similar = compared["dots similarity"]
    assert similar["TTB100/tokens"].holds
    assert similar["last score"].holds
    assert short(f"with {similar['TTB100/tokens'].middle:.2f}") in on_one_line(selection_page)
    assert all(
        ours["dots similarity"][name].holds for name in ("TTB75/tokens", "BSF100/tokens", "BSF100/steps")
    )
    assert not ours["dots similarity"]["TTB75/steps"].holds
    ends = [
        compared["gps"][name].holds for name in ("BSF25/steps", "BSF25/tokens", "BSF100/steps", "last score")
    ]
    assert ends == [True, True, False, False]
    assert short(f"from {compared['gps']['coverage'].interval.mean:.2f} of") in on_one_line(selection_page)


def test_the_other_setting_of_dps_comes_to_what_the_pages_say(results, readme, selection_page):
    part, other = "the other setting of DPS", "dps for mathematics"
    compared = as_on_page(results, part, "mixed")
    check_rivals({other: compared[other]}, readme, selection_page)
    against = as_on_page(results, part, "mixed", rival="dps")[other]
    assert [name for name in [*ratio_names("steps", "tokens"), "last score"] if against[name].holds] == [
        "last score"
    ]
    last = [short(f"{compared[arm]['last score'].interval.mean:.3f}") for arm in (other, "dps")]
    assert "it ends lower (last score {}, {}), beyond chance".format(*last) in on_one_line(selection_page)
    below = as_on_page(results, part, "mixed", rival=DEFAULT)[other]
    assert below["BSF100/steps"].holds
    assert below["last score"].holds
    effective = [short(f"{compared[arm]['ETR'].interval.mean:.2f}") for arm in (other, "dps")]
    assert "has more effective tasks ({}, {})".format(*effective) in on_one_line(selection_page)


@pytest.mark.parametrize("domain", FAMILIES)
def test_rivals_by_domain_come_to_what_the_page_says(domain, results, selection_page):
    part = "rivals by domain"
    compared = as_on_page(results, part, domain)
    table = selection_page.partition("**On one family of tasks** the strongest")[2].partition(
        "In none of the 24"
    )[0]
    check_families(table, {arm: arm for arm in compared}, compared, domain)
    against = as_on_page(results, part, domain, rival=DEFAULT)
    similar, against = against["dots similarity"], against["adarft"]
    assert similar["BSF100/steps"].holds
    assert similar["last score"].holds
    embedded = compared["dots similarity"]
    shown = {name for name in ("BSF100/steps", "last score") if embedded[name].holds}
    assert shown == ({"BSF100/steps", "last score"} if domain == "code" else set())
    if domain == "code":
        last = (compared[arm]["last score"].interval.mean for arm in ("dots similarity", "random"))
        assert short(
            "below random selection on code (last score {:.3f}, {:.3f})".format(*last)
        ) in on_one_line(selection_page)
    effective = [f"{compared[arm]['ETR'].interval.mean:.2f}" for arm in ("dots similarity", "random")]
    assert short(f"{effective[0]} on {domain} ({effective[1]})") in on_one_line(selection_page)
    assert against["TTB100/steps"].interval.never == 8, "in none of the 24 seeds"
    above, below = compared["adarft"]["BSF100/steps"], against["BSF100/steps"]
    assert above.holds
    assert below.holds
    assert below.middle < 1
    assert (above.middle > 1) == (domain != "logic")
    text = on_one_line(selection_page)
    if domain == "logic":
        last = [compared[arm]["last score"] for arm in ("adarft", "random")]
        assert (
            "it ends below (last score {}, {})".format(*(short(f"{each.middle:.3f}") for each in last))
            in text
        )
        assert last[0].holds
        ahead = compared["adarft"]["BSF25/steps"]
        assert ahead.holds
        assert ahead.middle > 1
    if domain == "math":
        etr, coverage = (
            [short(f"{compared[arm][name].interval.mean:.2f}") for arm in ("adarft", DEFAULT)]
            for name in ("ETR", "coverage")
        )
        assert "share of effective tasks ({}) is nearly the default's ({})".format(*etr) in text
        assert "{} of the pool is selected at least once, {} by the default".format(*coverage) in text


def test_filters_on_logic_come_to_what_the_page_says(results, selection_page):
    part, text = "filters on logic", on_one_line(selection_page)
    compared = as_on_page(results, part, "logic")
    for arm, metrics in compared.items():
        row = [*row_of(arm, metrics), tokens_over_random(results, arm, pool="logic")]
        assert f"\n| {' | '.join(row)} |\n" in selection_page, row
    filters = ["dynamic filter", "greso", "speed"]
    assert [compared[arm]["BSF100/steps"].holds for arm in filters] == [True, False, True]
    against = as_on_page(results, part, "logic", rival=DEFAULT)
    for arm in filters:
        assert not compared[arm]["last score"].holds
        assert not any(against[arm][name].holds for name in ("BSF100/steps", "last score"))
    speed = compared["speed"]
    steps, tokens = (short(cell(speed[f"TTB75/{cost}"])) for cost in ("steps", "tokens"))
    assert speed["TTB75/steps"].holds
    assert not speed["TTB75/tokens"].holds
    assert f"`speed` takes {steps} of random's steps and {tokens} of its tokens" in text
    half = against["speed"]["TTB50/tokens"]
    assert half.holds
    assert f"half-way {short(cell(half))} of the default's tokens" in text
