"""Tables of a study's page, as Markdown: lines, and a figure as the text of a cell."""

from __future__ import annotations

import math

import numpy as np

from pipelines.studies.figures import Figure


def head(*names: str) -> list[str]:
    """The two lines above a table's rows."""
    return [line(*names), "|---" * len(names) + "|"]


def line(*cells: str) -> str:
    """A row."""
    return f"| {' | '.join(cells)} |"


def cell(figure: Figure, digits: int = 2) -> str:
    """A figure as text: mean and interval, or median and how many runs never got there; bold where it holds."""
    interval = figure.interval
    if interval.never:
        # Not a mean: one infinity would hide the others.
        middle = float(np.median(figure.values))
        rest = f"never {interval.never}"
        text = f"{middle:.{digits}f} ({rest})" if math.isfinite(middle) else rest
    elif math.isnan(interval.mean):
        return "–"
    elif math.isnan(interval.low):
        text = f"{interval.mean:.{digits}f}"
    else:
        low, high = (f"{value:.{digits}f}" for value in (interval.low, interval.high))
        text = f"{interval.mean:.{digits}f} [{low}, {high}]"
    return f"**{text}**" if figure.holds else text
