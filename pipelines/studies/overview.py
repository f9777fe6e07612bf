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


def overview(study: StudyConfig, results: StudyResults, beside: Path) -> str:
    """The overview section; "" if no arm has a pair of runs yet."""
    shown = {
        pool: found for pool in study.pools if len((found := _compared(study, results, pool)).metrics) > 1
    }
    if not shown:
        return ""
    picture = study.results / PICTURE
    draw_forest(shown, _arms(shown, study.baseline), study.baseline, picture)
    lines = [
        "\n## At a glance\n",
        f"What an arm spends until it reaches `{study.baseline}`'s best score, divided by what `{study.baseline}`"
        " spends (TTB100). Filled marks: the difference is significant, corrected for the arms of its part.\n",
        image("time to the baseline's best score", picture, beside),
    ]
    lines += [
        f"What beats `{study.baseline}` beyond chance: to its best score with less (TTB100), or to a higher one"
        " (BSF100); the best first.\n",
        *_winners(shown, study.baseline),
        "",
    ]
    for name, title in (
        (f"TTB100/{COSTS[1]}", f"TTB100 on {UNITS[COSTS[1]]}, by pool"),
        (f"BSF100/{COSTS[0]}", f"Best score over `{study.baseline}`'s, within its steps (BSF100)"),
    ):
        lines += [f"{title}:\n", *_by_pool(shown, study.baseline, name), ""]
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
            cells.append(", ".join(f"{arm} {value:.2f}" for value, arm in better) or "nothing")
        lines.append(line(pool, *cells))
    return lines


def _by_pool(shown: dict[str, Comparison], baseline: str, name: str) -> list[str]:
    """One metric: a row per arm, a column per pool, with the number of seeds if an arm lacks some."""
    lines, arms = head("arm", *shown), _arms(shown, baseline)
    for arm in arms:
        cells = []
        for comparison in shown.values():
            if arm not in comparison.metrics:
                cells.append("–")
                continue
            metric = comparison.metrics[arm][name]
            seeds = len(metric.values)
            few = 0 < seeds < comparison.most_seeds(arms)
            cells.append(cell(metric) + (f", {of_seeds(seeds)}" if few else ""))
        lines.append(line(arm, *cells))
    return lines


def _arms(shown: dict[str, Comparison], baseline: str) -> list[str]:
    return list(dict.fromkeys(a for found in shown.values() for a in found.metrics if a != baseline))
