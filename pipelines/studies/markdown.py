"""Markdown of a study's page: table lines, cells, images."""

from __future__ import annotations

import math
import os
from pathlib import Path

from pipelines.studies.comparison import Metric


def head(*names: str) -> list[str]:
    """A table's header lines."""
    return [line(*names), "|---" * len(names) + "|"]


def line(*cells: str) -> str:
    """A table row."""
    return f"| {' | '.join(cells)} |"


def image(alternative: str, picture: Path, beside: Path) -> str:
    """An image, linked from a page in the folder `beside`."""
    return f"![{alternative}]({Path(os.path.relpath(picture, beside)).as_posix()})\n"


def of_seeds(count: int) -> str:
    """The number of seeds, in words."""
    return f"{count} seed{'s' * (count > 1)}"


def cell(metric: Metric, digits: int = 2) -> str:
    """A metric as text, bold if significant.

    Mean and interval, or, with infinite values, the median and how many values are infinite.
    """
    interval = metric.interval
    if interval.never:
        rest = f"{metric.infinite} {interval.never}"
        text = f"{metric.middle:.{digits}f} ({rest})" if math.isfinite(metric.middle) else rest
    elif math.isnan(interval.mean):
        return "–"
    else:
        bounds = ", ".join(f"{bound:.{digits}f}" for bound in metric.bounds or ())
        text = f"{interval.mean:.{digits}f}" + (f" [{bounds}]" if bounds else "")
    return f"**{text}**" if metric.holds else text
