"""One trial: simulate, or run a whole train job, and report to Ray Tune."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from rich.console import Console

from actors.environment import driver_environment
from actors.loading import loading
from bots.config.train import TrainConfig
from bots.config.tree import parse_config
from bots.simulation import Trace, simulate
from bots.simulation.comparison import comparison_metrics
from pipelines.shared.ray_session import wait_for_previous_run
from pipelines.shared.resources import EngineBundles, engines
from pipelines.simulations.config import BASELINE, SimulationConfig
from pipelines.sweeps.folders import can_resume, go_back, has_ended, kept_step, records_of
from pipelines.sweeps.space import lay
from pipelines.sweeps.turns import turn

DRIVER = {"memory": 256 * 2**20, "node:__internal_head__": 0.001}
"""Resources of a trial's process and its job's driver: a place on the head node, which is not preempted as spot nodes
are. Beliefs, queues and the newest weights are there, as for a job that is started alone."""
POLL_SECONDS = 0.5
RELEASE_SECONDS = 120.0
"""How long a trial waits for the resources that an earlier trial is still releasing."""
REPORTED = (
    "etr",
    "signal",
    "score",
    "best_score",
    "mean_score",
    "gain",
    "ttb50",
    "ttb100",
    "ttb100_completions",
    "bsf25",
    "bsf100",
)
CURVE = "curve"
PER_SEED = "per_seed"


def bundles(config: TrainConfig) -> list[dict[str, float]]:
    """Bundles for a train job's first engines, one each; empty if they need no resources."""
    asked = engines(config)
    return [asked.bundle] * asked.count if asked.bundle else []


def baselines(config: SimulationConfig) -> list[Trace]:
    """Random selection's runs on the configuration's seeds."""
    simulation = config.simulation(config.selection_of(BASELINE))
    return [simulate(simulation, seed) for seed in config.seeds]


def simulate_trial(
    point: dict[str, Any],
    tree: dict[str, Any],
    metric: str,
    each_seed: bool,
    random: Sequence[Trace] | None = None,
) -> None:
    """Simulate a point of the space, seed by seed, and report the means over the seeds.

    each_seed: report after each seed, so that a scheduler can stop the trial; this takes longer than a short run.
    random: the baselines' runs; None if the space varies more than the selection, and so the baselines too.
    """
    config = parse_config(SimulationConfig, lay(tree, point), "the trial")
    baseline = baselines(config) if random is None else random
    simulation = config.simulation(config.selection)
    found: list[dict[str, float]] = []
    scores = []
    for seed, theirs in zip(config.seeds, baseline, strict=True):
        trace = simulate(simulation, seed)
        found.append(comparison_metrics(trace, theirs))
        scores.append(trace.curve.scores)
        if not each_seed and len(found) < len(config.seeds):
            continue
        means = {name: float(np.mean([one[name] for one in found])) for name in REPORTED}
        curve = {"step": trace.curve.at.tolist(), "score": np.mean(scores, axis=0).tolist()}
        tune.report({**means, "step": len(found), PER_SEED: [one[metric] for one in found], CURVE: curve})


def train_trial(
    point: dict[str, Any], tree: dict[str, Any], folder: str, interval: int | None, turns: Any | None
) -> None:
    """Run a point of the space as a train job in `folder/TRIAL`, reporting each score as it arrives.

    After a sweep was killed, a trial resumes from its newest checkpoint or, without one, starts over.
    interval: for population-based training, the steps after which the job stops, passes its checkpoint to Ray Tune and
    is resumed, possibly as a copy of a better one. turns: the actor that gives its segments their turn.
    """
    name = tune.get_context().get_trial_id()
    run = {"run.folder": folder, "run.name": name}
    config = parse_config(TrainConfig, lay(tree, {**point, **run}), "the trial")
    wait_for_previous_run(name)
    if interval is None:
        group = _own_group()
        _run(config, EngineBundles(group, 1) if len(group.bundle_specs) > 1 else None)
        return

    # Here because its imports take seconds.
    with loading():
        from pipelines.sweeps.exploit import adopt, run_of_checkpoint

    known, donor = 0, tune.get_checkpoint()
    if donor is not None:
        with donor.as_directory() as source:
            adopt(Path(source), config)
            known = kept_step(Path(source))
    done = go_back(config)
    while known < config.run.steps:
        target = segment_end(done, known, interval, config.run.steps)
        segment = config.model_copy(update={"run": config.run.model_copy(update={"steps": target})})
        with turn(turns, name, bundles(config)) as engine_group:
            last = _run(segment, EngineBundles(engine_group, 0) if engine_group else None, turns)
        with run_of_checkpoint(config.run.path) as copy:
            tune.report(last, checkpoint=tune.Checkpoint.from_directory(copy))
        done = known = target


def _own_group() -> PlacementGroup:
    group = ray.util.get_current_placement_group()
    if group is None:
        raise RuntimeError("a trial runs outside a placement group; start it through Ray Tune")
    return group


def segment_end(done: int, known: int, interval: int, steps: int) -> int:
    """The step of the next report of a trial in a population.

    done: steps up to the newest checkpoint. known: steps that Ray Tune knows of. They are fewer if the sweep was killed
    just after a segment; that segment is then reported before the next one runs.
    """
    whole = done % interval == 0 or done == steps
    return done if whole and done > known else min(done - done % interval + interval, steps)


def _run(
    config: TrainConfig, engine_bundles: EngineBundles | None, turns: Any | None = None
) -> dict[str, Any]:
    """Run the job in a separate driver process; returns its last report, and sends the others unless it has turns.

    The driver runs in the placement group of the trial's process and ends with it, and so do the job's actors. Unlike
    the trial's process, it does not put the actors that it starts into that group.
    """
    reports = Reports(config.run.path, config.run.steps)
    if has_ended(config):
        job = None
    else:
        here = PlacementGroupSchedulingStrategy(_own_group(), 0)
        driver = ray.remote(_drive).options(
            num_cpus=0,
            max_retries=0,
            scheduling_strategy=here,
            # Ray Train asks the cluster whether to release a stopped trial's learners. If a second Ray runs on the
            # machine, it needs the address to find the right one.
            runtime_env={
                "env_vars": driver_environment() | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
            },
        )
        job = driver.remote(config, can_resume(config), engine_bundles)
    running = True
    while running:
        running = job is not None and not ray.wait([job], timeout=POLL_SECONDS)[0]
        if job is not None and not running:
            ray.get(job)  # raises the job's error
        if turns is not None:
            ray.get(turns.take.remote(config.run.name))
        for report in reports.new(ended=not running):
            if turns is None:
                tune.report(report)
    if reports.last is None:
        raise RuntimeError(f"the job in {config.run.path} ended without a score")
    return reports.last


def _drive(config: TrainConfig, resume: bool, engine_bundles: EngineBundles | None) -> None:
    # Here because only a running job needs Ray Train and the engines.
    with loading():
        from pipelines.train import train

    console = Console(file=io.StringIO())
    train(
        config, resume=resume, console=console, engine_bundles=engine_bundles, release_seconds=RELEASE_SECONDS
    )


class Reports:
    """Follows a run's `metrics.jsonl` and creates a report for each line with a score.

    steps: the run's last step. Its report ends the trial, so it waits until the job has ended and written its summary.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps
        self.reported = -1
        self.last: dict[str, Any] | None = None

    def new(self, ended: bool) -> Iterator[dict[str, Any]]:
        """New reports, oldest first. ended: whether the job has ended."""
        records = records_of(self.folder)
        for index, record in enumerate(records):
            due = record["step"] > self.reported and (ended or record["step"] < self.steps)
            if "score" in record and due:
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
