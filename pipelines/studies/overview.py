"""The overview of a study: every arm on every pool."""

from __future__ import annotations

from pathlib import Path

from pipelines.studies.claims import is_better
from pipelines.studies.comparison import COSTS, UNITS, Comparison, compare_arms
from pipelines.studies.config import StudyConfig
from pipelines.studies.forest_plot import draw_forest
from pipelines.studies.markdown import cell, head, image, line, of_seeds
from pipelines.studies.results import StudyResults

PICTURE = "at_a_glance.png"
OTHERS = "others"
MOST_NAMED = 5
"""Winners that a table's cell names."""


def overview(study: StudyConfig, results: StudyResults, beside: Path) -> str:
    """The overview section; "" if no arm has a pair of runs yet."""
    shown = {
        pool: found for pool in study.pools if len((found := _compared(study, results, pool)).metrics) > 1
    }
    if not shown:
        return ""
    picture = study.results / PICTURE
    groups = _groups(study, shown)
    draw_forest(shown, groups, study.baseline, picture)
    lines = [
        "\n## At a glance\n",
        f"What an arm spends until it reaches `{study.baseline}`'s best score, divided by what `{study.baseline}`"
        " spends (TTB100). Filled marks: the difference is significant, corrected for the arms of its part.\n",
        image("time to the baseline's best score", picture, beside),
    ]
    lines += [
        f"What beats `{study.baseline}` beyond chance: to its best score with less (TTB100), or to a higher one"
        f" (BSF100). At most {MOST_NAMED} are named, by their means; whether one is better than the next is in the"
        " parts' tables.\n",
        *_winners(shown, study.baseline),
        "",
    ]
    for name, title in (
        (f"TTB100/{COSTS[1]}", f"TTB100 on {UNITS[COSTS[1]]}, by pool"),
        (f"BSF100/{COSTS[0]}", f"Best score over `{study.baseline}`'s, within its steps (BSF100)"),
    ):
        lines += [f"{title}:\n", *_by_pool(shown, groups, name), ""]
    lines += [
        "## The arms\n",
        f"Settings over those of `{study.base}`:\n",
        *head("arm", "settings"),
        *(line(arm, f"`{' '.join(settings)}`" if settings else "–") for arm, settings in study.arms.items()),
        "",
    ]
    return "\n".join(lines)


def _compared(study: StudyConfig, results: StudyResults, pool: str) -> Comparison:
    """All arms on a pool. An arm of several parts is shown as in the first; its tests are corrected as there."""
    parts = [
        compare_arms(results, pool, part.arms, study.baseline, part.all_seeds)
        for part in study.parts
        if part.overview and pool in part.pools
    ]
    shown = Comparison(pool, {}, {})
    for part in parts:
        for arm, metrics in part.metrics.items():
            shown.metrics.setdefault(arm, metrics)
            shown.seeds.setdefault(arm, part.seeds[arm])
    return shown


def _winners(shown: dict[str, Comparison], baseline: str) -> list[str]:
    """Arms that are significantly better than the baseline: a row per pool, a column per cost, one for the score."""
    by_column = {UNITS[cost]: f"TTB100/{cost}" for cost in COSTS} | {"best score": f"BSF100/{COSTS[0]}"}
    lines = head("pool", *by_column)
    for pool, comparison in shown.items():
        cells = []
        for name in by_column.values():
            better = [
                (metrics[name].middle, arm)
                for arm, metrics in comparison.metrics.items()
                if arm != baseline and is_better(name, metrics[name])
            ]
            better.sort(reverse=not name.startswith("TTB"))
            named = [f"{arm} {value:.2f}" for value, arm in better[:MOST_NAMED]] or ["nothing"]
            if len(better) > MOST_NAMED:
                named.append(f"{len(better) - MOST_NAMED} more")
            cells.append(", ".join(named))
        lines.append(line(pool, *cells))
    return lines


def _by_pool(shown: dict[str, Comparison], groups: dict[str, list[str]], name: str) -> list[str]:
    """One metric: a row per arm, a column per pool, with the number of seeds if an arm lacks some."""
    lines, arms = head("arm", *shown), [arm for grouped in groups.values() for arm in grouped]
    for title, grouped in groups.items():
        if title:
            lines.append(line(f"*{title}:*", *("" for _ in shown)))
        lines += [
            line(arm, *(_in_pool(found, arm, name, found.most_seeds(arms)) for found in shown.values()))
            for arm in grouped
        ]
    return lines


def _in_pool(comparison: Comparison, arm: str, name: str, most_seeds: int) -> str:
    """An arm's metric on one pool, with the number of seeds if it lacks some."""
    if arm not in comparison.metrics:
        return "–"
    metric = comparison.metrics[arm][name]
    seeds = len(metric.values)
    return cell(metric) + (f", {of_seeds(seeds)}" if 0 < seeds < most_seeds else "")


def _groups(study: StudyConfig, shown: dict[str, Comparison]) -> dict[str, list[str]]:
    """The arms that are shown, by heading; within a group by their tokens to the baseline's best score.

    The order is that of the first pool that has an arm. Without groups in the configuration there is one without a
    heading, in the order of the parts.
    """
    arms = list(dict.fromkeys(a for found in shown.values() for a in found.metrics if a != study.baseline))
    if not study.groups:
        return {"": arms}

    def tokens(arm: str) -> float:
        having = next(found for found in shown.values() if arm in found.metrics)
        return having.metrics[arm][f"TTB100/{COSTS[1]}"].middle

    grouped = {
        title: sorted((arm for arm in given if arm in arms), key=tokens)
        for title, given in study.groups.items()
    }
    rest = [arm for arm in arms if not any(arm in given for given in study.groups.values())]
    grouped[OTHERS] = [*grouped.get(OTHERS, []), *rest]
    return {title: given for title, given in grouped.items() if given}
