"""The study's page: tables and pictures made from its Parquet files, no number typed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bots.support.files import replace_text
from pipelines.studies.claims import claims, least_seeds
from pipelines.studies.comparison import COSTS, LAST, UNITS, Comparison, compare_arms, ratio_names
from pipelines.studies.config import PaperMetric, Part, StudyConfig, slug
from pipelines.studies.curves_plot import draw_part
from pipelines.studies.markdown import cell, head, image, line
from pipelines.studies.overview import overview
from pipelines.studies.results import StudyResults

HEAD = """\
# The study

Made by `bots study {config}` from `{results}/*.parquet`; no number here was typed by hand. Every run is real training
(vLLM engines, DeepSpeed learner) as `{base}` configures it, paired by seed with `{baseline}`.

- TTB(x): what a run spends until it reaches x % of the baseline's best gain, over what the baseline spends; below 1 is
  faster. Geometric mean over seeds; "never k" where k runs did not get there, and then the median.
- BSF(x): the best score within x % of the budget, over the baseline's; above 1 is better.
- ETR: share of a batch's tasks whose answers differ in reward. Brier: of the selected tasks' predicted pass rates.
  Coverage: share of the pool's tasks that were selected at least once.
- [a, b] is the 95 % interval of the mean (Student), from three seeds on. **Bold**: the difference from `{baseline}`
  holds at 5 % by an exact signed-rank test over seeds, corrected for the number of arms in the table (Holm). Fewer than
  six seeds can't be bold.

{done} of {planned} runs are there, of {commits}, on {machines}.

{timed} of them were timed; the others ran while the machine did other work, and count for steps and tokens only.
Seconds are compared only between runs of a seed that one machine made in one sitting: from one day to another machines
of one kind differ by more than is to be found out.
"""
AGAIN = """
Made again for their seconds, for which alone they count: {again}. {same} of those came out the same, in every step's
tokens and every score.
"""
STALE = """
Left out: {count} of another configuration than the study's present one; `bots study {config}` makes them anew.
"""


def write_page(study: StudyConfig, config: str, page: Path) -> None:
    """Write the page and its pictures, which lie in the results' folder, from the runs as the study now has them."""
    results = StudyResults(study.results)
    stale = results.leave_out_stale(study)
    planned = list(study.plan())
    runs = results.runs.to_pylist()
    text = HEAD.format(
        config=config,
        results=study.results,
        base=study.base,
        baseline=study.baseline,
        done=sum(results.fingerprint(key) is not None for key in planned),
        planned=len(planned),
        commits=_commits({run["commit"][:10] for run in runs}),
        timed=sum(results.timed(key) for key in planned),
        machines=", ".join(sorted({run["machine"] for run in runs})) or "none",
    )
    again, same = results.repeats(key for key in planned if results.fingerprint(key) is not None)
    if again:
        text += AGAIN.format(again=f"{again} run{'s' * (again > 1)}", same=same)
    if stale:
        text += STALE.format(count=f"{stale} run{'s' * (stale > 1)}", config=config)
    text += overview(study, results, page.parent)
    told: dict[str, list[set[str]]] = {}
    for part in study.parts:
        for pool in part.pools:
            comparison = compare_arms(results, pool, part.arms, study.baseline, part.seeds)
            arms = set(comparison.metrics)
            # Of a part that has just begun there may be no more than an earlier part's table shows already.
            if len(arms) > 1 and not any(arms <= earlier for earlier in told.get(pool, [])):
                told.setdefault(pool, []).append(arms)
                text += _section(study, part, comparison, results, page.parent)
                for rival in part.rivals:
                    others = [arm for arm in part.arms if arm != study.baseline]
                    text += _against(rival, compare_arms(results, pool, others, rival, part.seeds), part)
    page.parent.mkdir(parents=True, exist_ok=True)
    replace_text(page, text)


def _commits(names: set[str]) -> str:
    """What the runs were made by; a page of names says less than where to find each run's."""
    if len(names) > 3:
        return f"{len(names)} commits (`runs.parquet` has each run's, and its configuration)"
    return f"commit{'s' * (len(names) != 1)} {', '.join(sorted(names)) or 'none'}"


def _section(
    study: StudyConfig, part: Part, comparison: Comparison, results: StudyResults, beside: Path
) -> str:
    picture = study.results / f"{slug(part.name)}-{slug(comparison.pool)}.png"
    draw_part(results, comparison, part, study.baseline, picture)
    lines = [f"\n## {part.name[0].upper()}{part.name[1:]}: {comparison.pool}\n"]
    if part.about:
        lines.append(f"{part.about}\n")
    lines.append(image("learning curves", picture, beside))
    lines += [f"Against `{study.baseline}`:\n", *_verdicts(comparison, study.baseline, part)]
    lines.append("\nWhat they came to:\n")
    lines += _reached(comparison, ["best score", "ETR", "Brier", "coverage"])
    for cost in COSTS:
        lines.append(f"\nOn {UNITS[cost]}:\n")
        if not comparison.has_rivals_on(cost, study.baseline):
            lines.append(
                f"Nothing to compare: no arm has {cost} that can be held against `{study.baseline}`'s."
            )
            continue
        paper = part.paper.get(comparison.pool, {}) if cost == COSTS[0] else {}
        lines += _ratios(comparison, study.baseline, cost, paper)
    domains = sorted(
        {name for found in comparison.metrics.values() for name in found if name.startswith(LAST)}
    )
    if len(domains) > 1:
        lines += ["\nThe last score by domain:\n", *_reached(comparison, domains)]
    return "\n".join([*lines, ""])


def _verdicts(comparison: Comparison, baseline: str, part: Part) -> list[str]:
    """What holds, a line an arm; one line for all where the part has too few seeds for any verdict."""
    least = least_seeds(len(comparison.metrics) - 1)
    if part.seeds < least:
        return [
            f"- No verdicts: they take {least} seeds, and this part has {part.seeds}. The intervals tell."
        ]
    return [f"- {claim}" for claim in claims(comparison, baseline)]


def _against(rival: str, comparison: Comparison, part: Part) -> str:
    """The arms against another one than the study's baseline."""
    if len(comparison.metrics) < 2:
        return ""
    lines = [f"\nThe same runs against `{rival}`:\n", *_verdicts(comparison, rival, part)]
    lines.append(f"\nOn {UNITS[COSTS[0]]}, `{rival}` being 1:\n")
    return "\n".join([*lines, *_ratios(comparison, rival, COSTS[0], {}), ""])


def _ratios(
    comparison: Comparison, baseline: str, cost: str, paper: dict[str, dict[PaperMetric, float | str]]
) -> list[str]:
    """The ratios to the baseline, a line an arm. paper: what it has for an arm."""
    names = ratio_names(cost)
    heads = [name.split("/")[0] for name in names]
    lines = head("arm", "seeds", *heads)
    for arm, metrics in comparison.metrics.items():
        cells = ["1" if arm == baseline else cell(metrics[name]) for name in names]
        lines.append(line(arm, str(comparison.seeds[arm]), *cells))
        if arm in paper:
            written: Mapping[str, float | str] = {str(name): value for name, value in paper[arm].items()}
            given = (written.get(name, "") for name in heads)
            cells = [f"{value:.2f}" if isinstance(value, float) else value for value in given]
            lines.append(line(f"*{arm}, the paper's*", "", *cells))
    return lines


def _reached(comparison: Comparison, names: list[str]) -> list[str]:
    """Figures that are no ratios, a line an arm."""
    lines = head("arm", "seeds", *(name.removeprefix(LAST) for name in names))
    for arm, metrics in comparison.metrics.items():
        cells = (cell(metrics[name], digits=3) if name in metrics else "–" for name in names)
        lines.append(line(arm, str(comparison.seeds[arm]), *cells))
    return lines
