"""The data of the page as one JSON tree. A missing part is a sentence that says why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import yaml

from bots.allocation import EVEN
from pipelines.report import beliefs, tasks
from pipelines.report.curves import against_random, learning_curves
from pipelines.report.engines import engines
from pipelines.report.held_out import held_out
from pipelines.report.recorded import Groups, read_beliefs, read_groups, read_pool, rollouts
from pipelines.report.replay import Replay, replay
from pipelines.report.run import Run
from pipelines.report.settings import Setting
from pipelines.report.step_metrics import step_metrics
from pipelines.report.timing import phases

TABLE_ROWS = 12_000
"""Rows of all task tables of a page together."""
MANY = 30
"""Show the run's own record if it has the pool's beliefs at this many steps; else a replay, which has more."""
SAME = 1e-6
"""Largest relative difference at which replayed beliefs count as equal to the run's own."""
NO_ROLLOUTS = "The run kept no completions. Set run.keep_rollouts=true to keep them."
NO_STEPS = "The run has not finished a step yet."


def build(settings: Sequence[Setting]) -> dict[str, Any]:
    """The page's data."""
    runs = [run for setting in settings for run in setting.runs]
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": version("bots-rft"),
        "settings": [
            {"label": s.label, "differences": s.differences, "runs": [run.label for run in s.runs]}
            for s in settings
        ],
        "curves": learning_curves(settings),
        "comparison": against_random(settings),
        "runs": [
            _run(run, number, TABLE_ROWS // len(runs)) for number, s in enumerate(settings) for run in s.runs
        ],
    }


def _run(run: Run, setting: int, table_rows: int) -> dict[str, Any]:
    shared = {
        "label": run.label,
        "setting": setting,
        "seed": run.seed,
        "state": run.state,
        "reason": (run.summary or {}).get("reason"),
        "quiet_seconds": run.quiet_seconds,
        "planned_steps": run.planned_steps,
        "config": yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
        "key": _key_metrics(run),
        "metrics": step_metrics(run),
        "phases": phases(run) or NO_STEPS,
        "engines": engines(run, rollouts(run)) if run.steps else None,
    }
    return shared | _posterior(run, table_rows) | {"held_out": held_out(run) if run.steps else NO_STEPS}


def _key_metrics(run: Run) -> dict[str, Any]:
    steps, scores = run.series("score")
    best = int(np.argmax(scores)) if len(scores) else None
    training = float(run.spent["seconds"][-1])
    waited = sum(r.get("select_wait_seconds", 0.0) for r in run.steps)
    etr = run.series("etr")[1]
    config = run.config
    tasks_a_step = config.get("selection", {}).get("tasks", "?")
    samples = config.get("rollout", {}).get("samples", "?")
    allocation = config.get("selection", {}).get("allocation", EVEN)
    sizes = "" if allocation == EVEN else f" on average ({allocation})"
    return {
        "steps": run.last_step,
        "first_score": None if best is None else scores[0],
        "last_score": None if best is None else scores[-1],
        "best_score": None if best is None else scores[best],
        "best_step": None if best is None else int(steps[best]),
        "evaluated": len(scores),
        "etr": float(etr.mean()) if len(etr) else None,
        "tokens": float(run.spent["tokens"][-1]),
        "training_seconds": training,
        "wall_seconds": None if run.summary is None else run.summary.get("wall_seconds"),
        "selection_share": waited / training if training > 0 else None,
        "model": str(config.get("model", {}).get("path", "")),
        "selector": str(config.get("selection", {}).get("selector", "")),
        "batch": f"{tasks_a_step} tasks × {samples} completions{sizes}",
        "loss": str(config.get("learner", {}).get("loss", "")),
    }


def _posterior(run: Run, table_rows: int) -> dict[str, Any]:
    """Beliefs, calibration and tasks."""
    if not run.steps:
        return dict.fromkeys(("heat", "calibration", "cards", "table"), NO_STEPS)
    pool, kept = read_pool(run), rollouts(run)
    p_star = run.series("posterior/p_star")
    out: dict[str, Any] = {}
    replayed: Replay | str = NO_ROLLOUTS
    if pool is not None and kept is not None:
        groups = read_groups(run, kept, pool)
        replayed = _tasks(run, pool, kept, groups, table_rows, out)
    else:
        out["cards"] = out["table"] = NO_ROLLOUTS if kept is None else "The run's folder has no pool.arrow."
    by_replay = replayed if isinstance(replayed, Replay) else None
    counted = sum("beliefs/pool" in record for record in run.records)
    recorded = counted >= (MANY if by_replay else 1)
    written = any("beliefs/selected" in record for record in run.records)
    why = replayed if isinstance(replayed, str) else ""
    none = f"The run did not record its beliefs, and they cannot be recomputed. {why}"
    source = run.records if recorded or not by_replay else by_replay.records
    batches = run.records if written or not by_replay else by_replay.records
    out["heat"] = beliefs.over_time(source, p_star) or none
    out["calibration"] = beliefs.diagram(batches) or none
    out["by_age"] = beliefs.by_age(run.records) or (by_replay and beliefs.by_age(by_replay.records))
    out["quality"] = beliefs.quality(by_replay) if by_replay else None
    out["beliefs_from"] = (
        "the run's own record" if recorded else "a replay of the recorded rewards" if by_replay else None
    )
    return out


def _tasks(
    run: Run, pool: Any, kept: Any, groups: Groups, table_rows: int, out: dict[str, Any]
) -> Replay | str:
    """Add cards and table to `out`; returns the replay, or why there is none."""
    tried = tasks.Tried(groups)
    final = read_beliefs(run)
    if final is not None and final.num_rows != len(pool):
        final = None  # the pool has grown or was replaced
    replayed = _replayed(run, pool, groups, tried.row, final)
    known = final is not None or isinstance(replayed, Replay)
    if final is not None:
        alpha, beta = final["alpha"].to_numpy(), final["beta"].to_numpy()
        mean = alpha / (alpha + beta)
    elif isinstance(replayed, Replay):
        mean = replayed.alpha / (replayed.alpha + replayed.beta)
    else:
        mean = np.full(len(pool), np.nan)
        mean[tried.row] = [groups.rate[places].mean() for places in tried.places]
    chosen = tasks.choose(tried, mean)
    places = np.unique(np.concatenate(list(chosen.values())))
    shown, missing = tasks.cards(run, pool, kept, groups, tried, places)
    if isinstance(replayed, Replay):
        for card, place in zip(shown, places, strict=True):
            line, spread = replayed.mean[place], replayed.deviation[place]
            low, high = np.clip((line - spread, line + spread), 0, 1).round(4)
            card["track"] = {"x": replayed.at, "y": line.round(4), "low": low, "high": high}
    where = {int(place): number for number, place in enumerate(places)}
    kinds = {kind: [where[int(place)] for place in picked] for kind, picked in chosen.items()}
    out["cards"] = {"tasks": shown, "kinds": kinds, "missing": missing}
    out["table"] = tasks.table(pool, groups, tried, mean, table_rows) | {"belief_known": known}
    return replayed


def _replayed(run: Run, pool: Any, groups: Groups, tracked: Any, final: Any) -> Replay | str:
    try:
        replayed = replay(run, pool, groups, tracked)
    except ValueError as error:
        return f"The beliefs could not be recomputed: {error}"
    if final is not None and (difference := replayed.differs(final)) > SAME:
        return (
            f"Recomputed from the recorded rewards, the beliefs differ from the run's own by up to {difference:.2g}, "
            "so they are not shown."
        )
    return replayed
