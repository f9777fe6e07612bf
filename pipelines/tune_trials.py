"""What one trial does: simulate, or run a whole train job, and report to Ray Tune on the way."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from rich.console import Console

from actors.environment import driver_environment
from bots.config import TrainConfig
from bots.config_tree import parse_config
from bots.metrics import Curve
from bots.simulation import simulate
from bots.simulation.figures import figures
from pipelines.simulate_config import BASELINE, SimulationConfig
from pipelines.summary import read_metrics
from pipelines.tune_space import lay
from pipelines.tune_turns import turn

POLL_SECONDS = 0.5
REPORTED = (
    "etr",
    "signal",
    "score",
    "best_score",
    "mean_score",
    "gain",
    "ttb50",
    "ttb100",
    "bsf25",
    "bsf100",
)
CURVE = "curve"
PER_SEED = "per_seed"


def baselines(config: SimulationConfig) -> list[Curve]:
    """The learning curves of random selection on the configuration's seeds."""
    simulation = config.simulation(config.selection_of(BASELINE))
    return [simulate(simulation, seed).curve for seed in config.seeds]


def simulate_trial(
    point: dict[str, Any],
    tree: dict[str, Any],
    metric: str,
    each_seed: bool,
    random: Sequence[Curve] | None = None,
) -> None:
    """Simulate a point of the space, seed by seed, and report the means over the seeds.

    each_seed: report those so far after each, for a scheduler to stop the trial; it takes longer than a short run.
    random: the baselines; None where the space varies more than the selection, which changes them too.
    """
    config = parse_config(SimulationConfig, lay(tree, point), "the trial")
    curves = baselines(config) if random is None else random
    simulation = config.simulation(config.selection)
    found: list[dict[str, float]] = []
    scores = []
    for seed, baseline in zip(config.seeds, curves, strict=True):
        trace = simulate(simulation, seed)
        found.append(figures(trace, baseline))
        scores.append(trace.curve.scores)
        if not each_seed and len(found) < len(config.seeds):
            continue
        means = {name: float(np.mean([one[name] for one in found])) for name in REPORTED}
        curve = {"step": trace.curve.at.tolist(), "score": np.mean(scores, axis=0).tolist()}
        tune.report({**means, "step": len(found), PER_SEED: [one[metric] for one in found], CURVE: curve})


def train_trial(
    point: dict[str, Any], tree: dict[str, Any], folder: str, interval: int | None, turns: Any | None
) -> None:
    """Run a point of the space as a train job in `folder/TRIAL`, reporting each of its scores as they come.

    interval: for population-based training, the steps after which the job stops, hands its checkpoint to Ray
    Tune and is resumed, by then perhaps as the copy of a better one. turns: what its segments wait for.
    """
    # Only train jobs need torch and the models' code; a simulated trial starts in a second without them.
    from pipelines.tune_exploit import adopt, run_of_checkpoint

    name = tune.get_context().get_trial_id()
    run = {"run.folder": folder, "run.name": name}
    config = parse_config(TrainConfig, lay(tree, {**point, **run}), "the trial")
    path = config.run.path
    donor = tune.get_checkpoint()
    if donor is not None:
        with donor.as_directory() as source:
            adopt(Path(source), config)
    if interval is None:
        _run(config, resume=_can_resume(path))
        return
    done = _steps(path)
    while done < config.run.steps:
        target = min(done - done % interval + interval, config.run.steps)
        segment = config.model_copy(update={"run": config.run.model_copy(update={"steps": target})})
        with turn(turns, name):
            last = _run(segment, resume=_can_resume(path), turns=turns)
        done = target
        with run_of_checkpoint(path) as copy:
            tune.report(last, checkpoint=tune.Checkpoint.from_directory(copy))


def _can_resume(path: Path) -> bool:
    """Whether a run of an earlier life of this sweep left a checkpoint; without one it begins again."""
    if any((path / "checkpoints").glob("step_*")):
        return True
    if path.exists():
        shutil.rmtree(path)
    return False


def _steps(path: Path) -> int:
    return int(read_metrics(path)[-1]["step"]) if (path / "metrics.jsonl").exists() else 0


def _run(config: TrainConfig, resume: bool, turns: Any | None = None) -> dict[str, Any]:
    """Run the job in a driver of its own; returns its last report, and makes the others unless it has turns.

    The trial's process lives in a placement group that holds no CPU or GPU and would capture every actor that the
    job starts; the driver does not. It dies with the trial, and the job's actors with it.
    """
    driver = ray.remote(_drive).options(
        num_cpus=0,
        max_retries=0,
        scheduling_strategy="DEFAULT",
        runtime_env={"env_vars": driver_environment()},
    )
    job = driver.remote(config, resume)
    reports = Reports(config.run.path)
    running = True
    while running:
        running = not ray.wait([job], timeout=POLL_SECONDS)[0]
        if not running:
            ray.get(job)  # raises what the job raised
        if turns is not None:
            ray.get(turns.take.remote(config.run.name))
        for report in reports.new():
            if turns is None:
                tune.report(report)
    if reports.last is None:
        raise RuntimeError(f"the job in {config.run.path} ended without a score")
    return reports.last


def _drive(config: TrainConfig, resume: bool) -> None:
    # Ray Train and the engines are imported only where a job runs.
    from pipelines.train import train

    train(config, resume=resume, console=Console(file=io.StringIO()))


class Reports:
    """Follows a run's `metrics.jsonl` and makes a report of each line with a score."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reported = -1
        self.last: dict[str, Any] | None = None
        self.started = time.monotonic()

    def new(self) -> Iterator[dict[str, Any]]:
        """The reports that have not been made yet, oldest first."""
        path = self.folder / "metrics.jsonl"
        text = path.read_text() if path.exists() else ""
        if not text.endswith("\n"):
            return  # a line is being written
        records = read_metrics(self.folder)
        for index, record in enumerate(records):
            if "score" in record and record["step"] > self.reported:
                self.reported = record["step"]
                self.last = self._report(records[: index + 1])
                if record["step"] > 0:
                    yield self.last

    def _report(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        scored = [record for record in records if "score" in record]
        scores = [record["score"] for record in scored]
        steps = [record for record in records if record["step"] > 0]
        return {
            "step": records[-1]["step"],
            "score": scores[-1],
            "best_score": max(scores),
            "mean_score": float(np.mean(scores)),
            "etr": float(np.mean([record["etr"] for record in steps])) if steps else 0.0,
            "tokens": sum(record["tokens"] for record in steps),
            CURVE: {"step": [record["step"] for record in scored], "score": scores},
            PER_SEED: [],
        }
