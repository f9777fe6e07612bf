"""Learning curves of settings with bands over seeds, and their ratios to random selection."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from bots.metrics import Curve, best_so_far, mean_interval, time_to_best
from bots.support.natural_order import natural
from pipelines.report.run import Floats, Run
from pipelines.report.settings import Setting

COSTS = ("steps", "tokens", "seconds")
GRID = 60
SHARES = {"TTB": (time_to_best, (0.5, 0.75, 1.0)), "BSF": (best_so_far, (0.25, 0.5, 1.0))}


def curve(run: Run, cost: str, key: str = "score") -> Curve | None:
    """A run's held-out scores against a cost; None if it has none."""
    at, scores = run.series(key)
    finite = np.isfinite(scores)
    if not finite.any():
        return None
    # Looked up, because a journal may lack some steps.
    place = np.searchsorted(run.spent["steps"], at[finite])
    return Curve(run.spent[cost][place], scores[finite])


def learning_curves(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """For each score (all tasks, each domain), cost and setting: every seed's curve, and mean and 95 % band.

    The band is Student's t interval of the mean over seeds, if there are at least two.
    """
    runs = [run for setting in settings for run in setting.runs]
    keys = sorted(
        {key for run in runs for key in run.keys("score") if key == "score" or key.startswith("score/")},
        key=natural,
    )
    out = []
    for key in keys:
        for cost in COSTS:
            lines = []
            for number, setting in enumerate(settings):
                curves = [c for run in setting.runs if (c := curve(run, cost, key)) is not None]
                if curves:
                    lines.append({"setting": number, "seeds": [_points(c) for c in curves], **_band(curves)})
            out.append({"score": key, "cost": cost, "lines": lines})
    return out


def _points(one: Curve) -> dict[str, Any]:
    return {"x": one.at, "y": one.scores}


def _band(curves: list[Curve]) -> dict[str, Any]:
    """Mean, low and high at the points all seeds have in common, else on a grid over their common range."""
    if len(curves) == 1:
        return {"x": curves[0].at, "mean": curves[0].scores, "low": None, "high": None}
    common: Floats = reduce(np.intersect1d, [one.at for one in curves])
    if len(common) < min(len(one.at) for one in curves) / 2:
        low, high = max(one.at[0] for one in curves), min(one.at[-1] for one in curves)
        common = np.linspace(low, high, GRID) if high > low else np.array([low])
    intervals = [mean_interval(v) for v in np.array([np.interp(common, c.at, c.scores) for c in curves]).T]
    return {
        "x": common,
        "mean": [i.mean for i in intervals],
        "low": [i.low for i in intervals],
        "high": [i.high for i in intervals],
    }


def against_random(settings: Sequence[Setting]) -> dict[str, Any] | None:
    """TTB and BSF of each setting against random selection, paired by seed; None if there is nothing to compare.

    A cell is the mean over seeds with its 95 % interval. If a seed never reached the target, TTB is "never".
    """
    baselines = [s for s in settings if s.runs[0].config.get("selection", {}).get("selector") == "random"]
    others = [s for s in settings if s not in baselines]
    if len(baselines) != 1 or not others:
        return None
    reference = {run.seed: run for run in baselines[0].runs}
    rows = []
    for setting in others:
        pairs = [(run, reference[run.seed]) for run in setting.runs if run.seed in reference]
        for cost in COSTS:
            curves = [(curve(run, cost), curve(base, cost)) for run, base in pairs]
            whole = [(ours, theirs) for ours, theirs in curves if ours and theirs]
            if not whole:
                continue
            cells = {}
            for name, (ratio, shares) in SHARES.items():
                for share in shares:
                    values = [_ratio(ratio, ours, theirs, share) for ours, theirs in whole]
                    cells[f"{name} {share:.0%}"] = _cell(values)
            rows.append({"setting": setting.label, "cost": cost, "pairs": len(whole), "cells": cells})
    return {"baseline": baselines[0].label, "rows": rows} if rows else None


def _ratio(ratio: Any, ours: Curve, theirs: Curve, share: float) -> float:
    try:
        return float(ratio(ours, theirs, share))
    except ValueError:
        return float("nan")  # no score by then


def _cell(values: list[float]) -> dict[str, Any]:
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return {"undefined": len(values)}
    interval = mean_interval(known)
    cell = {"never": interval.never, "undefined": len(values) - len(known), "of": len(values)}
    return cell | {"mean": interval.mean, "low": interval.low, "high": interval.high}
