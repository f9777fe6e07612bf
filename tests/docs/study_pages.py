"""What the tests of the documentation's figures share: tables of the study as its page has them."""

from pathlib import Path

import numpy as np

from pipelines.studies.comparison import LAST_SCORE, compare_arms
from pipelines.studies.config import load_study
from pipelines.studies.markdown import cell

ROOT = Path(__file__).parents[2]
STUDY = load_study(ROOT / "configs" / "study.yaml", [])
DEFAULT = "self-tuned with prior"
"""The arm that is the default where reference models have measured the pool."""


FAMILIES = ["math", "logic", "code"]


def as_on_page(results, part, pool, rival="random"):
    """A table of the study's page: what a page says of chance is corrected for all arms of the part, as there."""
    (part,) = (each for each in STUDY.parts if each.name == part)
    assert rival in [STUDY.baseline, *part.rivals], "the page has no such table"
    arms = [arm for arm in part.arms if rival == STUDY.baseline or arm != STUDY.baseline]
    compared = compare_arms(results, pool, arms, rival, part.all_seeds)
    assert set(compared.seeds.values()) == {part.seeds}, compared.seeds
    return compared.metrics


def on_one_line(page):
    """A page without its line breaks, to look for sentences."""
    return " ".join(page.split())


def short(figure):
    """A figure as the docs' sentences have it: `.84 [.74, .95]` for `**0.84 [0.74, 0.95]**`."""
    return figure.strip("*").replace("0.", ".")


def row_of(arm, metrics):
    """An arm's row of a table, with the costs of random selection as the unit."""
    costs = [cell(metrics[f"TTB100/{cost}"]) if arm != "random" else "1" for cost in ("steps", "tokens")]
    scores = [cell(metrics[name], 3) for name in ("best score", LAST_SCORE)]
    return [arm, *costs, *scores, f"{metrics['ETR'].interval.mean:.2f}"]


def check_table(compared, readme):
    """The README has a row for every arm."""
    for arm, metrics in compared.items():
        row = row_of(arm, metrics)
        assert f"| {' | '.join(row)} |\n" in readme, row


def check_families(page, names, compared, domain):
    """A table has a column for every family, and in it an arm's tokens to random's best score, and its best score.

    names: an arm's name in the table, for each arm.
    """
    column = FAMILIES.index(domain) + 1
    for arm, name in names.items():
        (row,) = (line.split(" | ") for line in page.splitlines() if line.startswith(f"| {name} | "))
        tokens = "1" if arm == "random" else cell(compared[arm]["TTB100/tokens"]).strip("*")
        shown = short(f"{tokens}, {compared[arm]['best score'].interval.mean:.3f}")
        assert row[column].removesuffix(" |") == shown, (name, shown)


def tokens_over_random(results, arm, pool="mixed", seeds=8):
    """Mean over seeds of all tokens that an arm generates, over those of random selection, as a table has it."""
    if arm == "random":
        return "1"
    spent = [
        [results.run((pool, each, seed)).against["tokens"].at[-1] for seed in range(seeds)]
        for each in (arm, "random")
    ]
    return f"{np.mean(np.divide(*spent)):.2f}"
