"""The main job: a Ray Train group of DeepSpeed learners, vLLM engines, graders and the posterior actor.

`python -m pipelines.train configs/lab.yaml selection.lam=0.2` and `bots train …` are the same.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from actors.environment import driver_environment, learner_environment

os.environ.update({k: v for k, v in driver_environment().items() if k not in os.environ})

import ray
import ray.train
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from rich.console import Console

from bots.config.train import TrainConfig, load_config
from bots.config.tree import dump_config
from pipelines.shared import resources
from pipelines.shared.command import run_job, warn
from pipelines.shared.lock import held
from pipelines.shared.preflight import Prepared, prepare
from pipelines.shared.ray_session import embedded, ray_session, wait_until_ended
from pipelines.training.actors import Crew, complete, hire
from pipelines.training.export import fetch, write_model
from pipelines.training.loop import Job, train_loop
from pipelines.training.progress import Progress
from pipelines.training.run_folder import check_folder, check_pools, claim_folder, note_pools
from pipelines.training.shutdown import conclude, in_short


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    resume_from: int | None = None,
    console: Console | None = None,
    seats: resources.Seats | None = None,
    settling_seconds: float = resources.SETTLING_SECONDS,
) -> dict[str, Any]:
    """Run a whole train job and return its summary, which is also written to `summary.json`.

    resume: continue the run in the folder from its newest checkpoint. resume_from: continue it from the checkpoint of
    this step, the newer ones being set aside. overwrite: replace it. seats: what is already
    reserved for the engines; None: they go where there is room. settling_seconds: how long to wait for what other jobs
    still hold.
    Raises ConfigError, PoolError or ResourceError before anything expensive starts or an earlier run is replaced,
    FloatingPointError if more steps than `learner.max_skipped_steps` in a row had no finite loss, and FatalError if
    no grader is left or a held-out task cannot be answered. On an interrupt the step under way is finished and a
    checkpoint written; on a second one, or where no checkpoints are kept, everything ends at once. Either way the
    results so far stay readable.
    """
    console = console or Console()
    resume = resume or resume_from is not None
    prepared = prepare(config)
    prepared.warn(console)
    warning = check_folder(config, resume=resume, overwrite=overwrite, resume_from=resume_from)
    if warning:
        warn(console, warning)
    if resume:
        check_pools(config.run.path, prepared)
    if not ray.is_initialized():
        # Nodes of a cluster may be taken away with a notice; the one in here is not.
        os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0" if embedded() else "1"
    with held(config.run.path, console), ray_session():
        try:
            asked = [resources.learners(config)] if seats else resources.plan(config)
            resources.wait_until_possible(asked, config.run.wait_for_nodes_s, settling_seconds)
            wait_until_ended(config.run.name)
            # Only now, when the run can start: what is there may be replaced.
            folder = claim_folder(config, resume=resume, overwrite=overwrite, resume_from=resume_from)
            note_pools(folder, prepared)
            return _run(prepared, folder, console, seats)
        finally:
            resources.stop_asking()


def _run(prepared: Prepared, folder: Path, console: Console, seats: resources.Seats | None) -> dict[str, Any]:
    started = time.time()
    crew = hire(prepared, folder, seats)
    status, reason = "failed", None
    try:
        _fit(prepared, crew, folder, console)
        if prepared.config.run.export:
            write_model(fetch(crew.broker), prepared.model, folder / "model")
        status = "finished"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    except Exception as error:
        reason = in_short(error)
        raise
    finally:
        summary = conclude(crew, folder, started, status, reason)
    if summary is None:
        raise RuntimeError(f"the run is finished, but {folder / 'summary.json'} could not be written")
    return summary


def _preemptible() -> bool:
    """Whether Ray Train watches for nodes that are about to be taken away, as `train` has set it."""
    return os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "1") != "0"


def _fit(prepared: Prepared, crew: Crew, folder: Path, console: Console) -> None:
    config = prepared.config
    learner = config.learner
    on_gpu = learner.gpus > 0
    job = Job(config, prepared.model, crew, preemptible=_preemptible())
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=learner.ranks,
            use_gpu=on_gpu,
            resources_per_worker={
                "CPU": learner.cpus,
                **({"GPU": learner.gpus} if on_gpu else {}),
                **learner.resources,
            },
        ),
        torch_config=TorchConfig(
            backend="cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            # For what ranks do together; what only rank 0 waits for has no limit (`ranks.wait_together`).
            timeout_s=int(1800 + 2 * config.rollout.timeout_s),
        ),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=learner.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=config.run.checkpoints_kept,
                checkpoint_score_attribute="score" if config.run.keep_best else None,
            ),
            worker_runtime_env={"env_vars": learner_environment(learner.threads, on_gpu)},
        ),
    )
    failures: list[BaseException] = []
    ended = threading.Event()

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # noqa: BLE001 (handed to the main thread, which raises it)
            failures.append(error)
        finally:
            ended.set()

    asking, stopping = True, False
    # In a thread of its own, so that this one shows progress and hears an interrupt at once.
    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    with Progress(crew.journal, config.run.steps, config.run.name, console) as progress:
        thread.start()
        while not ended.is_set():
            try:
                # Not `thread.join`: interrupted in it, Python 3.11 takes a thread that runs for one that has ended.
                ended.wait(0.5)
                progress.poll()
                complete(prepared, crew)
                if asking and progress.records:
                    # The nodes that an autoscaler was asked for are in use.
                    resources.stop_asking()
                    asking = False
            except KeyboardInterrupt:
                if stopping or not (config.run.checkpoint_every and progress.step):
                    raise
                stopping = True
                console.print("stopping after this step, with a checkpoint; once more to end at once")
                crew.coordinator.stop.remote()
        progress.poll()
    if failures:
        raise failures[0]
    if fatal := ray.get(crew.coordinator.fatal.remote()):
        raise fatal
    last = ray.get(crew.journal.since.remote(-1))
    if last and "stopped" in last[0]:
        raise FloatingPointError(last[0]["stopped"])
    if stopping and progress.step < config.run.steps:
        console.print(f"checkpoint of step {progress.step}; --resume goes on from it", highlight=False)
        raise KeyboardInterrupt
    if progress.step < config.run.steps:
        raise RuntimeError(f"the learner group ended after step {progress.step} of {config.run.steps}")


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots train", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="laid over the file")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the configuration and the plan, and stop"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run from its newest checkpoint")
    parser.add_argument(
        "--resume-from", type=int, metavar="STEP", help="continue it from the checkpoint of this step"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the run's folder")
    options = parser.parse_intermixed_args(arguments)

    def job(console: Console) -> None:
        config = load_config(options.config, options.overrides)
        if options.dry_run:
            _show(prepare(config), console)
            return
        summary = train(
            config,
            resume=options.resume,
            resume_from=options.resume_from,
            overwrite=options.overwrite,
            console=console,
        )
        best = "no score" if summary["best_score"] is None else f"best score {summary['best_score']:.3f}"
        console.print(
            f"{summary['steps']} steps, {best}; results in {config.run.path}", highlight=False, soft_wrap=True
        )

    return run_job("train", job)


def _show(prepared: Prepared, console: Console) -> None:
    console.print(dump_config(prepared.config), markup=False, highlight=False, end="", soft_wrap=True)
    plan_lines = resources.describe(resources.plan(prepared.config)).splitlines()
    for line in (*prepared.outline(), *plan_lines):
        console.print(f"# {line}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
