"""Beliefs over time and their calibration, from a run's records or a replay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bots.belief.bins import AGES, BINS
from bots.metrics import calibration
from pipelines.report.replay import Replay
from pipelines.report.run import Floats

COLUMNS = 60
CALIBRATION_BINS = 10
Z = 1.96


def over_time(records: Sequence[dict[str, Any]], p_star: tuple[Floats, Floats]) -> dict[str, Any] | None:
    """The heat map: pool and selected tasks by bin of the posterior mean, at the steps that recorded the pool.

    A column's selected tasks are those of the steps since the previous column. quantiles: 10, 50 and 90 % of their
    predicted means. p_star: steps and values of p*. None if nothing was recorded.
    """
    counted = [r for r in records if "beliefs/pool" in r]
    if not counted:
        return None
    places = np.unique(np.linspace(0, len(counted) - 1, COLUMNS).round().astype(int))
    counted = [counted[place] for place in places]
    columns, since = [], -1
    for record in counted:
        between = [
            r["beliefs/selected"] for r in records if since < r["step"] <= record["step"] and _selected(r)
        ]
        selected = np.sum(between, axis=0) if between else None
        columns.append(
            {
                "step": record["step"],
                "pool": record["beliefs/pool"],
                "selected": None if selected is None else selected.tolist(),
                "quantiles": None if selected is None else _quantiles(selected),
                "p_star": _at(p_star, record["step"]),
            }
        )
        since = record["step"]
    return {"bins": BINS, "columns": columns}


def diagram(records: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Predicted against observed pass rates of the selected tasks, for the whole run and its second half.

    A point's interval is Wilson's for that many tasks with that rate. It is conservative, because a pass rate over
    several completions varies less than a single reward.
    """
    batches = [r for r in records if _selected(r)]
    if not batches:
        return None
    middle = batches[-1]["step"] / 2
    late = [r for r in batches if r["step"] > middle]
    return {"whole run": _points(batches), "second half": _points(late)}


def by_age(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Predicted against observed pass rates of the selected tasks, by the steps since each was last observed.

    A point's interval is as in `diagram`, error is the Brier score. None if nothing was recorded.
    """
    batches = [r for r in records if "beliefs/age_tasks" in r]
    if not batches:
        return None
    names = ("tasks", "predicted", "observed", "error")
    sums = np.array([np.sum([r[f"beliefs/age_{name}"] for r in batches], axis=0) for name in names])
    first = [1, *(age + 1 for age in AGES)]
    labels = [
        "never",
        *(str(a) if a == b else f"{a}–{b}" for a, b in zip(first, AGES, strict=False)),
        f"{first[-1]}+",
    ]
    points = []
    for label, (n, predicted, observed, error) in zip(labels, sums.T.tolist(), strict=True):
        if n:
            low, high = _wilson(observed / n, n)
            rates = {"predicted": predicted / n, "observed": observed / n, "low": low, "high": high}
            points.append({"age": label, "tasks": int(n), **rates, "error": error / n})
    return points or None


def quality(replayed: Replay) -> dict[str, float | None]:
    """Brier score, log loss, correlation and AUC of all predictions; None if undefined."""
    found = calibration(replayed.predicted, replayed.observed, replayed.rollouts)
    metrics = {"Brier score": found.brier, "log loss": found.log_loss}
    metrics |= {"correlation": found.correlation, "AUC": found.auc}
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _selected(record: dict[str, Any]) -> bool:
    return "beliefs/selected" in record


def _points(batches: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    sums = [
        np.sum([r[f"beliefs/{what}"] for r in batches], axis=0)
        for what in ("selected", "predicted", "observed")
    ]
    count, predicted, observed = (s.reshape(CALIBRATION_BINS, -1).sum(axis=1) for s in sums)
    points = []
    for n, q, p in zip(count, predicted, observed, strict=True):
        if n:
            low, high = _wilson(p / n, n)
            points.append({"tasks": int(n), "predicted": q / n, "observed": p / n, "low": low, "high": high})
    return points


def _wilson(rate: float, n: float) -> tuple[float, float]:
    rate = min(max(rate, 0.0), 1.0)
    centre = (rate + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(rate * (1 - rate) / n + Z**2 / (4 * n**2))
    return centre - half, centre + half


def _quantiles(counts: Floats) -> list[float]:
    """10, 50 and 90 % quantiles, assuming tasks are uniform within a bin."""
    edges = np.linspace(0, 1, BINS + 1)
    shares = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    return [float(np.interp(share, shares, edges)) for share in (0.1, 0.5, 0.9)]


def _at(series: tuple[Floats, Floats], step: int) -> float | None:
    steps, values = series
    if len(steps) == 0:
        return None
    return float(values[min(int(np.searchsorted(steps, step)), len(values) - 1)])
