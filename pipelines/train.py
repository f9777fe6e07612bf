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
from pipelines.shared.lock import folder_lock
from pipelines.shared.placement import Places, places
from pipelines.shared.preflight import RunInputs, load_inputs
from pipelines.shared.ray_session import ray_session, uses_local_ray, wait_for_previous_run
from pipelines.shared.shipped import shipped
from pipelines.training.actors import ActorHandles, start_actors, start_more_engines
from pipelines.training.export import fetch_weights, write_model
from pipelines.training.loop import LoopInputs, train_loop
from pipelines.training.progress import Progress
from pipelines.training.run_folder import as_recorded, check_folder, check_pools, create_folder, record_pools
from pipelines.training.shutdown import one_line, shut_down


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    resume_from: int | None = None,
    console: Console | None = None,
    engine_bundles: resources.EngineBundles | None = None,
    release_seconds: float = resources.RELEASE_SECONDS,
) -> dict[str, Any]:
    """Run a whole train job and return its summary, which is also written to `summary.json`.

    resume: continue the run in the folder from its newest checkpoint. resume_from: continue it from the checkpoint of
    this step and set the newer ones aside. overwrite: replace that run. engine_bundles: resources already reserved for
    the engines; None: engines run wherever there is room. release_seconds: how long to wait for resources that other
    jobs still hold.
    Raises ConfigError, PoolError or ResourceError before anything expensive starts or an earlier run is replaced;
    FloatingPointError after more than `learner.max_skipped_steps` consecutive steps without a finite loss; FatalError
    if no grader is left or a held-out task cannot be evaluated. On an interrupt the current step is finished and a
    checkpoint written; on a second interrupt, or without checkpoints, everything ends at once. The results so far stay
    readable in all cases.
    """
    console = console or Console()
    resume = resume or resume_from is not None
    inputs = load_inputs(as_recorded(config) if resume else config)
    config = inputs.config
    inputs.warn(console)
    warning = check_folder(config, resume=resume, overwrite=overwrite, resume_from=resume_from)
    if warning:
        warn(console, warning)
    if resume:
        check_pools(config.run.path, inputs)
    if not ray.is_initialized():
        # Only a cluster announces that nodes go away.
        os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0" if uses_local_ray() else "1"
    with folder_lock(config.run.path, console), ray_session():
        try:
            demands = resources.plan(config)
            if engine_bundles:
                demands = [demand for demand in demands if demand != resources.engines(config)]
            resources.wait_for_resources(
                demands, config.run.wait_for_nodes_s, release_seconds, config.run.nodes_join_by_hand
            )
            wait_for_previous_run(config.run.name)
            with places(
                config, max(config.run.wait_for_nodes_s, release_seconds), engine_bundles
            ) as reserved:
                # Last, when the run can start: this may delete an earlier run.
                folder = create_folder(config, resume=resume, overwrite=overwrite, resume_from=resume_from)
                record_pools(folder, inputs)
                return _run(inputs, folder, console, reserved)
        finally:
            resources.cancel_request()


def _run(inputs: RunInputs, folder: Path, console: Console, reserved: Places | None) -> dict[str, Any]:
    reserved = reserved or Places()
    started = time.time()
    handles = start_actors(inputs, folder, reserved.engines, reserved.graders)
    status, reason = "failed", None
    try:
        reserved.release_learners()
        _fit(inputs, handles, folder, console)
        if inputs.config.run.export:
            write_model(fetch_weights(handles.broker), inputs.model, folder / "model")
        status = "finished"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    except Exception as error:
        reason = one_line(error)
        raise
    finally:
        summary = shut_down(handles, folder, started, status, reason)
    if summary is None:
        raise RuntimeError(f"the run finished, but {folder / 'summary.json'} could not be written")
    return summary


def _preemptible() -> bool:
    """Whether Ray Train watches for nodes that are about to go away, as set by `train`."""
    return os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "1") != "0"


def _fit(inputs: RunInputs, handles: ActorHandles, folder: Path, console: Console) -> None:
    config = inputs.config
    learner = config.learner
    on_gpu = learner.gpus > 0
    loop_inputs = LoopInputs(config, inputs.model, handles, preemptible=_preemptible())
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"inputs": loop_inputs},
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
            # The limit of a collective. Waiting with rank 0 has none (`ranks.wait_with_rank_0`).
            timeout_s=int(learner.collective_timeout_s),
        ),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=learner.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=config.run.checkpoints_kept,
                checkpoint_score_attribute="score" if config.run.keep_best else None,
            ),
            # An argument of Ray Train v2; ray.train's annotations are those of v1.
            worker_runtime_env={"env_vars": learner_environment(learner.threads, on_gpu)},  # type: ignore[call-arg]
        ),
    )
    failures: list[BaseException] = []
    ended = threading.Event()

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # noqa: BLE001 (the main thread raises it)
            failures.append(error)
        finally:
            ended.set()

    requesting, stopping = True, False
    # In its own thread, so that the main thread shows progress and reacts to interrupts at once.
    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    with Progress(handles.journal, config.run.steps, config.run.name, console) as progress:
        thread.start()
        while not ended.is_set():
            try:
                # Not `thread.join`: after an interrupt in it, Python 3.11 reports a running thread as ended.
                ended.wait(0.5)
                progress.poll()
                start_more_engines(inputs, handles)
                if requesting and progress.records:
                    # The nodes requested from the autoscaler are in use now.
                    resources.cancel_request()
                    requesting = False
            except KeyboardInterrupt:
                if stopping or not (config.run.checkpoint_every and progress.step):
                    raise
                stopping = True
                console.print(
                    "stopping after this step, with a checkpoint; press Ctrl-C again to stop at once"
                )
                handles.coordinator.stop.remote()
        progress.poll()
    if failures:
        raise failures[0]
    if fatal := ray.get(handles.coordinator.fatal.remote()):
        raise fatal
    last = ray.get(handles.journal.since.remote(-1))
    if last and "stopped" in last[0]:
        raise FloatingPointError(last[0]["stopped"])
    if stopping and progress.step < config.run.steps:
        console.print(
            f"checkpoint of step {progress.step} written; --resume continues from it", highlight=False
        )
        raise KeyboardInterrupt
    if progress.step < config.run.steps:
        raise RuntimeError(f"the learner group ended after step {progress.step} of {config.run.steps}")


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots train", description=__doc__.splitlines()[0])
    parser.add_argument(
        "config", help="a YAML file, or a name from the package: " + ", ".join(shipped("train"))
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="overrides a key of the file"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the configuration and the resource plan, and exit"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run from its newest checkpoint")
    parser.add_argument(
        "--resume-from", type=int, metavar="STEP", help="continue the run from the checkpoint of this step"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the run's folder")
    options = parser.parse_intermixed_args(arguments)

    def job(console: Console) -> None:
        config = load_config(options.config, options.overrides)
        if options.dry_run:
            _show(load_inputs(config), console)
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


def _show(inputs: RunInputs, console: Console) -> None:
    console.print(dump_config(inputs.config), markup=False, highlight=False, end="", soft_wrap=True)
    demands = resources.plan(inputs.config)
    lines = [*inputs.summary_lines(), *resources.describe(demands).splitlines()]
    if uses_local_ray():
        try:
            resources.check(demands, resources.this_machine(), "this machine has")
        except resources.ResourceError as error:
            lines.append(f"warning: started on this machine alone, the run would be refused: {error}")
    for line in lines:
        console.print(f"# {line}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
