"""A pool's survey as tables in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.pools.survey import Rates, Survey
from pipelines.shared.golds import SHOWN, GoldCheck

BARS = " ▁▂▃▄▅▆▇█"
PROMPT_CHARACTERS = 1200


def show(survey: Survey, console: Console) -> None:
    """Print everything, one pool under its key."""

    def say(text: str, style: str | None = None) -> None:
        console.print(text, markup=False, highlight=False, style=style, soft_wrap=True)

    say(f"{survey.key}: {sum(survey.tasks.values()):,} tasks", "bold")
    for report in survey.reports:
        say(f"  {report}")
    console.print(_domains(survey))
    if any(report.dropped for report in survey.reports):
        console.print(_dropped(survey))
    if survey.rates:
        console.print(_rates(survey))
    for prompt in survey.prompts:
        say(f"task {prompt.id} ({prompt.domain}), {prompt.tokens} tokens as the model sees them:", "bold")
        say(_shortened(prompt.text))
        say(f"answer for grader {prompt.grader}: {_shortened(prompt.answer, 200)}\n")
    if survey.prompts:
        say(survey.ends)
    for domain, check in survey.golds.items():
        _show_golds(domain, check, say)
    for note in survey.notes:
        say(f"note: {note}", "cyan")
    for reason in survey.refused:
        say(f"a run would refuse this pool: {reason}", "yellow")
    console.print()


def _domains(survey: Survey) -> Table:
    columns = ("domain", "tasks", "graders", "levels", "tokens: least, median, 95 %, most", "too long")
    table = Table(*columns, box=None, padding=(0, 2), title="by domain", title_justify="left")
    for place in (1, 3, 5):
        table.columns[place].justify = "right"
    for domain, tasks in survey.tasks.items():
        graders = ", ".join(survey.graders[domain])
        lengths = survey.lengths.get(domain)
        tokens = ", ".join(f"{count:,}" for count in lengths.quantiles) if lengths else "–"
        too_long = f"{lengths.too_long:,}" if lengths else "–"
        table.add_row(
            Text(domain), f"{tasks:,}", Text(graders), str(survey.levels.get(domain, "–")), tokens, too_long
        )
    return table


def _dropped(survey: Survey) -> Table:
    table = Table("domain", "rows", "why", box=None, padding=(0, 2), title="left out", title_justify="left")
    for report in survey.reports:
        for (domain, why), rows in report.dropped.most_common():
            table.add_row(Text(domain), f"{rows:,}", Text(why))
    return table


def _rates(survey: Survey) -> Table:
    columns = ("domain", "known", "weak 0…1", "mean", "strong 0…1", "mean")
    table = Table(*columns, box=None, padding=(0, 2), title="reference pass rates", title_justify="left")
    for domain, rates in survey.rates.items():
        table.add_row(Text(domain), f"{rates.known:,}", *_pictured(rates))
    return table


def _pictured(rates: Rates) -> list[str]:
    if not rates.known:
        return ["", "–", "", "–"]
    return [bars(rates.weak), f"{rates.weak_mean:.2f}", bars(rates.strong), f"{rates.strong_mean:.2f}"]


def bars(counts: Sequence[int]) -> str:
    """A histogram of one line; a bin that has any task shows."""
    most = max(counts)
    return "".join(BARS[0 if not n else max(1, round(n / most * (len(BARS) - 1)))] for n in counts)


def _show_golds(domain: str, check: GoldCheck, say: Callable[[str, str | None], None]) -> None:
    if not (check.checked or check.untold):
        return
    untold = f"; {check.untold:,} have tests and no solution to try them with" if check.untold else ""
    if not check.checked:
        say(f"{domain}: {check.untold:,} tasks have tests and no solution to try them with", None)
        return
    say(
        f"{domain}: {check.checked - check.failed:,} of {check.checked:,} reference answers are right by their own "
        f"grader; a neighbour's is wrong for {check.neighbours - len(check.accepted) - len(check.alike):,} of "
        f"{check.neighbours:,}{untold}",
        "red" if check.failed or check.accepted else "green",
    )
    for title, rows in (
        ("not right", check.refused),
        ("can't be graded", check.ungraded),
        ("right with another answer", check.accepted),
        ("alike: one answer in two spellings, or a mistake of the grader", check.alike),
    ):
        for task, reason in rows[:SHOWN]:
            say(f"  {title}: {task}: {_shortened(reason, 200)}", None)
        if len(rows) > SHOWN:
            say(f"  … and {len(rows) - SHOWN:,} more", None)


def _shortened(text: str, characters: int = PROMPT_CHARACTERS) -> str:
    """Printable, and cut in the middle: both the beginning and the end of a prompt matter."""
    text = "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
    if len(text) <= characters:
        return text
    half = characters // 2
    return f"{text[:half]} […{len(text) - 2 * half:,} characters…] {text[-half:]}"
