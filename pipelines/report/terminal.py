"""A run in the terminal: a curve, sparklines, a histogram and a stacked bar, drawn with characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipelines.report.run import Floats, Run
from pipelines.report.timing import phases

BLOCKS = " ▁▂▃▄▅▆▇█"
RECENT = 10
"""Number of steps over which the latest metrics are averaged."""
COLOURS = {
    "generate": "blue",
    "learn": "dark_orange3",
    "grade": "green",
    "sync": "magenta",
    "evaluate": "grey50",
    "checkpoint": "yellow",
    "write": "grey62",
    "wait": "cyan",
    "other": "grey35",
    "outside": "grey23",
}
METRICS = (
    ("etr", "effective task ratio", "{:.2f}"),
    ("reward", "mean reward", "{:.2f}"),
    ("tokens", "tokens per step", "{:,.0f}"),
    ("staleness", "staleness (oldest)", "{:.1f}"),
    ("engine_busy_share", "engines busy", "{:.0%}"),
    ("loss", "loss", "{:.4f}"),
    ("posterior/batch/brier", "Brier score", "{:.3f}"),
    ("posterior/lam", "λ", "{:.3f}"),
    ("posterior/rho", "ρ", "{:.3f}"),
)


def view(run: Run, width: int) -> RenderableType:
    """The whole view of a run, `width` columns wide."""
    inside = max(30, min(width, 110) - 4)
    parts: list[RenderableType] = [_head(run, inside)]
    if not run.steps:
        parts.append(Text("No step is finished yet: engines and learner are starting.", style="dim"))
    else:
        parts += [_score(run, inside), Text(), _metrics(run, inside), Text(), *_selected(run, inside), Text()]
        parts.append(_phases(run, inside))
    title = Text(f" {run.name} ", style="bold")
    return Panel(Group(*parts), title=title, title_align="left", border_style="dim", width=inside + 4)


def curve(x: Floats, y: Floats, width: int, height: int) -> list[str]:
    """A curve through the points, as `height` lines of `width` Braille characters (2 x 4 dots each)."""
    dots = np.zeros((height * 4, width * 2), bool)
    span = x[-1] - x[0] or 1.0
    low, high = float(y.min()), float(y.max())
    columns = np.arange(width * 2)
    values = np.interp(columns, (x - x[0]) / span * (width * 2 - 1), y)
    rows = np.rint((high - values) / (high - low or 1.0) * (height * 4 - 1)).astype(int)
    for column, row in enumerate(rows):
        # From the previous dot to this one, so that steep lines have no gaps.
        before = rows[max(column - 1, 0)]
        dots[min(row, before) : max(row, before) + 1, column] = True
    weights = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
    cells = dots.reshape(height, 4, width, 2).transpose(0, 2, 1, 3)
    return ["".join(chr(0x2800 + int((cell * weights).sum())) for cell in line) for line in cells]


def spark(values: Sequence[float] | Floats, width: int) -> str:
    """The values as at most `width` blocks, each the mean of an interval, scaled from lowest to highest."""
    parts = np.array_split(np.asarray(values, np.float64), min(width, len(values)))
    means = np.array([part.mean() for part in parts])
    low, high = means.min(), means.max()
    levels = (
        np.rint((means - low) / (high - low) * 7).astype(int) if high > low else np.zeros(len(means), int)
    )
    return "".join(BLOCKS[1 + level] for level in levels)


def histogram(counts: Sequence[float], wide: int) -> str:
    """Counts as one line of blocks, `wide` characters per bin; an empty bin is a space."""
    top = max(counts) or 1
    return "".join(BLOCKS[int(np.ceil(count / top * 8))] * wide for count in counts)


def seconds(value: float) -> str:
    """A duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _head(run: Run, width: int) -> Text:
    done = min(1.0, run.last_step / run.planned_steps)
    bar = max(10, width - 60)
    text = Text.assemble(
        ("━" * round(bar * done), "blue"),
        ("━" * (bar - round(bar * done)), "grey23"),
        f"  step {run.last_step:,}/{run.planned_steps:,}  ",
    )
    if run.state != "still going":
        return text.append(run.state, style="bold green" if run.state == "finished" else "bold yellow")
    recent = [r["seconds"] for r in run.steps[-RECENT:]]
    if recent:
        left = (run.planned_steps - run.last_step) * sum(recent) / len(recent)
        text.append(f"about {seconds(left)} left")
    silent = 3 * max([60.0, *recent])
    if run.quiet_seconds > silent:
        text.append(f"  no update for {seconds(run.quiet_seconds)}", style="bold red")
    return text


def _score(run: Run, width: int) -> RenderableType:
    steps, scores = run.series("score")
    if len(scores) < 2:
        said = "not evaluated yet" if len(scores) == 0 else f"{scores[0]:.3f} at step {steps[0]:.0f}"
        return Text(f"held-out score: {said}")
    best = int(scores.argmax())
    title = Text.assemble(
        "held-out score  ",
        (f"{scores[-1]:.3f}", "bold"),
        f"  best {scores[best]:.3f} at step {steps[best]:.0f}, first {scores[0]:.3f}",
    )
    plot = curve(steps, scores, width - 8, 6)
    labels = [f"{scores.max():.3f}", *[""] * (len(plot) - 2), f"{scores.min():.3f}"]
    lines = [
        Text.assemble((f"{label:>6} ", "dim"), (line, "blue"))
        for label, line in zip(labels, plot, strict=True)
    ]
    return Group(title, *lines)


def _metrics(run: Run, width: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    table.add_column(f"last {RECENT}", justify="right")
    table.add_column("over the run")
    capabilities = [
        (key, "capability " + key.removeprefix("posterior/evidence/capability").strip("/"), "{:.2f}")
        for key in run.keys("posterior/evidence/capability")
    ]
    for key, name, form in (*METRICS, *capabilities):
        steps, values = run.series(key)
        values = values[(steps > 0) & np.isfinite(values)]
        if len(values):
            line = Text(spark(values, max(8, width - 36)), style="blue")
            table.add_row(name, form.format(values[-RECENT:].mean()), line)
    return table


def _selected(run: Run, width: int) -> list[RenderableType]:
    batches = [r["beliefs/selected"] for r in run.steps[-RECENT:] if "beliefs/selected" in r]
    if not batches:
        return [Text("difficulty of the selected tasks: not recorded by this run", style="dim")]
    counts = np.sum(batches, axis=0)
    wide = 2 if width >= 2 * len(counts) + 22 else 1
    lines = [
        Text(f"posterior means of the tasks selected in the last {len(batches)} steps and of the pool"),
        Text.assemble(("selected  ", "dim"), (histogram(counts, wide), "dark_orange3")),
    ]
    pools = [r["beliefs/pool"] for r in run.records if "beliefs/pool" in r]
    if pools:
        lines.append(Text.assemble(("pool      ", "dim"), (histogram(pools[-1], wide), "blue")))
    axis = "0" + " " * (len(counts) * wide - 2) + "1"
    p_star = run.series("posterior/p_star")[1]
    if len(p_star):
        place = min(len(axis) - 2, max(1, round(p_star[-1] * (len(axis) - 1))))
        axis = axis[:place] + "^" + axis[place + 1 :] + "   ^ p*"
    return [*lines, Text(" " * 10 + axis, style="dim")]


def _phases(run: Run, width: int) -> RenderableType:
    found = phases(run)
    assert found is not None  # the caller checked that there is a step
    totals = {name: value for name, value in found["totals"].items() if value > 0}
    whole = sum(totals.values())
    bar, entries, drawn = Text(), [], 0.0
    for name, value in totals.items():
        start, drawn = round(drawn / whole * width), drawn + value
        bar.append("█" * (round(drawn / whole * width) - start), style=COLOURS.get(name, "white"))
        if value / whole >= 0.005:
            entries.append(Text.assemble(("■ ", COLOURS.get(name, "white")), f"{name} {value / whole:.0%}  "))
    wall = "wall-clock" if found["wall"] is not None else "in steps"
    return Group(Text(f"time by phase, {seconds(whole)} {wall}"), bar, _lines(entries, width))


def _lines(entries: Sequence[Text], width: int) -> Text:
    """The entries in lines of at most `width` columns; no entry is split."""
    lines = [Text()]
    for entry in entries:
        if lines[-1] and len(lines[-1]) + len(entry.plain.rstrip()) > width:
            lines.append(Text())
        lines[-1].append(entry)
    return Text("\n").join(lines)
