"""A pool's survey as one HTML page: markup and style, no script, nothing that is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from bots.support.files import replacing
from pipelines.pools.survey import Rates, Survey
from pipelines.shared.golds import GoldCheck

ROWS = 200
"""Failing rows that the page shows of each kind."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; } caption { text-align: left; font-weight: 600; }
td, th { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top; } td.n, th.n { text-align: right; }
pre { background: #f4f4f2; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.bad { color: #a4161a; } .good { color: #2d6a4f; } .note { color: #555; }
@media (prefers-color-scheme: dark) { body { background: #16181a; color: #e6e6e6; } pre { background: #22262a; }
.bad { color: #ff7b7f; } .good { color: #7bd8a5; } .note { color: #aaa; } }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write(surveys: Sequence[Survey], path: Path) -> None:
    """Write the page of one or more pools; an old one stays whole until the new one is."""
    body = "".join(_pool(survey) for survey in surveys)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f'content="{POLICY}"><meta name="viewport" content="width=device-width"><title>Task pool</title>'
        f"<style>{STYLE}</style></head><body><h1>Task pool</h1>{body}</body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8", errors="replace")


def _pool(survey: Survey) -> str:
    parts = [f"<h2>{escape(survey.key)}: {sum(survey.tasks.values()):,} tasks</h2>"]
    parts += [
        f'<p class="bad">A run would refuse this pool: {escape(reason)}</p>' for reason in survey.refused
    ]
    parts += [f"<p>{escape(str(report))}</p>" for report in survey.reports]
    parts += [f'<p class="note">{escape(note)}</p>' for note in survey.notes]
    parts.append(_domains(survey))
    dropped = [
        (domain, f"{rows:,}", why)
        for report in survey.reports
        for (domain, why), rows in report.dropped.most_common()
    ]
    if dropped:
        parts.append(_table("Left out", ("domain", "rows", "why"), dropped, numbers=(1,)))
    if survey.rates:
        parts.append("<h3>Reference pass rates</h3>")
        parts += [_rates(domain, rates) for domain, rates in survey.rates.items() if rates.known]
    parts += [_golds(domain, check) for domain, check in survey.golds.items()]
    if survey.prompts:
        parts.append(f"<h3>Prompts as the model sees them</h3><p>{escape(survey.ends)}</p>")
    for prompt in survey.prompts:
        parts.append(
            f"<p>{escape(prompt.id)} ({escape(prompt.domain)}), {prompt.tokens} tokens</p><pre>{escape(prompt.text)}"
            f"</pre><p>Answer, for grader <code>{escape(prompt.grader)}</code>:</p><pre>{escape(prompt.answer[:2000])}"
            "</pre>"
        )
    return "".join(parts)


def _domains(survey: Survey) -> str:
    rows = []
    for domain, tasks in survey.tasks.items():
        graders = ", ".join(f"{name} {count:,}" for name, count in survey.graders[domain].items())
        lengths = survey.lengths.get(domain)
        numbers = [*map(str, lengths.quantiles), f"{lengths.too_long:,}"] if lengths else ["–"] * 5
        rows.append((domain, f"{tasks:,}", graders, str(survey.levels.get(domain, "–")), *numbers))
    names = ("domain", "tasks", "graders", "levels", "least tokens", "median", "95 %", "most", "too long")
    return _table("By domain", names, rows, numbers=(1, 3, 4, 5, 6, 7, 8))


def _rates(domain: str, rates: Rates) -> str:
    width, height, gap = 26, 90, 8
    most = max(*rates.weak, *rates.strong, 1)
    bars = []
    for place, (weak, strong) in enumerate(zip(rates.weak, rates.strong, strict=True)):
        for side, (count, color) in enumerate(((weak, "#8d99ae"), (strong, "#2a6f97"))):
            tall = round(height * count / most, 1)
            left = place * (2 * width + gap) + side * width
            bars.append(
                f'<rect x="{left}" y="{height - tall}" width="{width - 2}" height="{tall}" fill="{color}">'
                f"<title>{count:,}</title></rect>"
            )
    whole = len(rates.weak) * (2 * width + gap)
    axis = f'<line x1="0" x2="{whole}" y1="{height + 0.5}" y2="{height + 0.5}" stroke="#888"/>' + "".join(
        f'<text x="{whole * rate:g}" y="{height + 15}" text-anchor="{end}" font-size="12" fill="#666">{rate:g}</text>'
        for rate, end in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    return (
        f"<p>{escape(domain)}: known for {rates.known:,} tasks; mean {rates.weak_mean:.2f} of the weak model (gray), "
        f"{rates.strong_mean:.2f} of the strong one (blue)</p>"
        f'<svg role="img" aria-label="pass rates of {escape(domain, quote=True)}" width="{whole}" '
        f'height="{height + 18}">{"".join(bars)}{axis}</svg>'
    )


def _golds(domain: str, check: GoldCheck) -> str:
    if not (check.checked or check.untold):
        return ""
    if not check.checked:
        return (
            f"<h3>Reference answers: {escape(domain)}</h3>"
            f"<p>{check.untold:,} tasks have tests and no solution to try them with</p>"
        )
    kind = "bad" if check.failed or check.accepted else "good"
    untold = f"; {check.untold:,} have tests and no solution to try them with" if check.untold else ""
    parts = [
        f'<h3>Reference answers: {escape(domain)}</h3><p class="{kind}">{check.checked - check.failed:,} of '
        f"{check.checked:,} are right by their own grader; a neighbour's is wrong for "
        f"{check.neighbours - len(check.accepted) - len(check.alike):,} of {check.neighbours:,}{untold}</p>"
    ]
    for title, rows in (
        ("Not right", check.refused),
        ("Can't be graded", check.ungraded),
        ("Right with another answer", check.accepted),
        ("Alike: one answer in two spellings, or a mistake of the grader", check.alike),
    ):
        if rows:
            more = f" (the first {ROWS} of {len(rows):,})" if len(rows) > ROWS else ""
            parts.append(_table(f"{title}{more}", ("task", "why"), rows[:ROWS]))
    return "".join(parts)


def _table(
    caption: str, names: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()
) -> str:
    def cells(kind: str, values: Sequence[str]) -> str:
        return "".join(
            f"<{kind}{' class=n' if place in numbers else ''}>{escape(value)}</{kind}>"
            for place, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{cells('th', names)}</tr>{body}</table>"
