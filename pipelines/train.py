"""The main job: a Ray Train group of DeepSpeed learners, vLLM engines, graders and the posterior actor.

`python -m pipelines.train configs/lab.yaml selection.lam=0.2` and `bots train …` are the same.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.environment import driver_environment, engine_environment, learner_environment

os.environ.update({k: v for k, v in driver_environment().items() if k not in os.environ})

import ray  # noqa: E402 (reads the environment set above)
import ray.train  # noqa: E402
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig  # noqa: E402
from ray.train.torch import TorchConfig, TorchTrainer  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402
from rich.console import Console  # noqa: E402

from actors.grader import GraderActor  # noqa: E402
from actors.journal import Journal  # noqa: E402
from actors.posterior import PosteriorActor  # noqa: E402
from actors.rollout import RolloutActor  # noqa: E402
from actors.weights import WeightBroker  # noqa: E402
from bots.config import TrainConfig  # noqa: E402
from pipelines import plan  # noqa: E402
from pipelines.crew import Crew  # noqa: E402
from pipelines.loop import Job, train_loop  # noqa: E402
from pipelines.preparation import Prepared, claim_folder, prepare  # noqa: E402
from pipelines.progress import Progress  # noqa: E402
from pipelines.summary import summarise  # noqa: E402

NAMESPACE = "bots"


def train(
    config: TrainConfig, *, resume: bool = False, overwrite: bool = False, console: Console | None = None
) -> dict[str, Any]:
    """Run a whole train job and return its summary, which is also written to `summary.json`.

    resume: continue the run in the folder from its newest checkpoint. overwrite: replace it.
    Raises ConfigError, PoolError or ResourceError before anything expensive starts. On an interrupt,
    everything that was started is ended, and the results so far stay readable.
    """
    console = console or Console()
    prepared = prepare(config)
    folder = claim_folder(config, resume=resume, overwrite=overwrite)
    with _ray():
        plan.wait_until_possible(plan.plan(config), config.run.wait_for_nodes_s)
        started = time.time()
        crew = _hire(prepared, folder)
        try:
            _fit(prepared, crew, folder, console)
        finally:
            ray.get(crew.journal.close.remote(), timeout=10)
            beliefs = ray.get(crew.posterior.table.remote(), timeout=60)
            summary = summarise(folder, beliefs, time.time() - started)
            _dismiss(crew)
    return summary


@contextmanager
def _ray() -> Iterator[None]:
    """Ray for the time of the job: the cluster at hand (RAY_ADDRESS, `ray job submit`), else one in here."""
    if ray.is_initialized():
        yield
        return
    embedded = "RAY_ADDRESS" not in os.environ
    # An embedded Ray needs no dashboard; a cluster has its own.
    options: dict[str, Any] = {"include_dashboard": False} if embedded else {}
    ray.init(namespace=NAMESPACE, logging_level="error", log_to_driver=False, **options)
    try:
        yield
    finally:
        ray.shutdown()


def _hire(prepared: Prepared, folder: Path) -> Crew:
    """Start every actor but the learner ranks. The driver owns them, so they outlive a learner's restart."""
    config, run = prepared.config, prepared.config.run
    rollout, selection = config.rollout, config.selection
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    pool = ray.put(prepared.train.pool)
    engines = [
        RolloutActor.options(
            name=f"{run.name}/rollout-{i}",
            num_cpus=rollout.cpus,
            num_gpus=rollout.gpus,
            runtime_env={"env_vars": engine_environment(rollout.threads, rollout.gpus > 0)},
        ).remote(f"rollout-{i}", prepared.model, rollout, run.seed + i)
        for i in range(rollout.engines)
    ]
    graders = [
        GraderActor.options(name=f"{run.name}/grader-{i}").remote(
            workers=config.grading.workers,
            timeout_s=config.grading.timeout_s,
            memory_bytes=int(config.grading.memory_gib * 2**30),
        )
        for i in range(config.grading.actors)
    ]
    settings = {
        "p_star": selection.p_star,
        "lam": selection.lam,
        "rho": selection.rho,
        "rollouts": rollout.samples,
        "seed": run.seed,
        "selector": selection.selector,
        "evidence": selection.evidence,
        "evidence_options": selection.evidence_options,
        "prior": selection.prior,
    }
    posterior = PosteriorActor.options(name=f"{run.name}/posterior", scheduling_strategy=here).remote(
        pool, settings, str(folder / "posterior")
    )
    journal = Journal.options(name=f"{run.name}/journal", scheduling_strategy=here).remote(str(folder))
    return Crew(engines, graders, posterior, WeightBroker.remote(), journal)


def _fit(prepared: Prepared, crew: Crew, folder: Path, console: Console) -> None:
    config = prepared.config
    learner = config.learner
    on_gpu = learner.gpus > 0
    job = Job(config, prepared.model, crew, ray.put(prepared.train), ray.put(prepared.evaluation))
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=learner.ranks,
            use_gpu=on_gpu,
            resources_per_worker={"CPU": learner.cpus} | ({"GPU": learner.gpus} if on_gpu else {}),
        ),
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if on_gpu else "gloo"),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=learner.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=config.run.checkpoints_kept),
            worker_runtime_env={"env_vars": learner_environment(learner.threads, on_gpu)},
        ),
    )
    failures: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # noqa: BLE001 (handed to the main thread, which raises it)
            failures.append(error)

    # In a thread of its own, so that this one shows progress and an interrupt ends everything at once.
    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    with Progress(crew.journal, config.run.steps, config.run.name, console) as progress:
        thread.start()
        while thread.is_alive():
            thread.join(0.5)
            progress.poll()
    if failures:
        raise failures[0]


def _dismiss(crew: Crew) -> None:
    """End the actors now rather than when the last handle is gone."""
    for actor in [*crew.engines, *crew.graders, crew.posterior, crew.broker, crew.journal]:
        ray.kill(actor)


def install_signal_handler() -> None:
    """Treat a request to end (SIGTERM, as from `ray job stop`) like Ctrl-C."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
