"""Measure the pass rates of a weak and a strong reference model on every task of a pool.

`python -m pipelines.anchors configs/lab_anchors.yaml rollout.samples=8`. Results in the job's folder:
`pool.parquet` (the pool with weak and strong), `anchors.parquet` (id, weak, strong of the measured tasks),
`anchors.png`, `summary.json`, and `blocks/`, from which a stopped job resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from actors.environment import driver_environment
from bots.support.files import replace_text

os.environ.update({k: v for k, v in driver_environment().items() if k not in os.environ})

import numpy as np
import numpy.typing as npt
import ray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from actors.reference import EndpointError, endpoint_key
from bots.config.tree import ConfigError, dump_config, parse_config, read_tree
from bots.pool import TaskPool
from bots.rollouts.templates import PromptEncoder
from pipelines.anchoring.blocks import graded_blocks
from pipelines.anchoring.config import REFERENCES, AnchorsConfig, ReferenceConfig
from pipelines.anchoring.results import block_file, write_results, write_table
from pipelines.shared import resources
from pipelines.shared.command import run_job
from pipelines.shared.job_folder import CONFIG, kind_of
from pipelines.shared.lock import folder_lock, unwritable_folder
from pipelines.shared.pool import build_pool
from pipelines.shared.preflight import load_config_and_tokenizer
from pipelines.shared.ray_session import ray_session

FINGERPRINT = "pool.fingerprint"
# Keys that a resumed job may change: where and how fast it runs, not what it measures.
_FREE = {
    "rollout": {"engines", "cpus", "gpus", "threads", "kv_cache_gib", "max_num_seqs", "timeout_s"}
    | {"gpu_memory_utilization", "enforce_eager"},
    "run": {"folder"},
    "grading": {"actors", "workers", "timeout_s", "memory_gib", "unsafe_code_without_sandbox"},
}


def measure_anchors(
    config: AnchorsConfig, *, overwrite: bool = False, console: Console | None = None
) -> dict[str, Any]:
    """Run the job, or resume it, and return its summary.

    overwrite: start over in a folder that holds another job.
    Raises ConfigError, SourceError, PoolError or ResourceError before an engine starts or an earlier job is replaced.
    """
    console = console or Console()
    started = time.monotonic()
    models = {name: _model(name, getattr(config, name)) for name in REFERENCES}
    pool = build_pool(config.pool, next((model for model in models.values() if model), None))
    pool.require("prompt", "answer", "grader")
    rows = _choose_rows(config, pool)
    _check_prompts(config, models, pool, rows)
    _check_folder(config, pool, overwrite)
    with folder_lock(config.run.path, console):
        with ray_session():
            if any(models.values()):
                rollout = config.rollout
                one = resources.Demand("reference engine", 1, rollout.cpus, rollout.gpus, "rollout.cpus")
                resources.check([one], ray.cluster_resources())  # Ray Data would wait forever
            # Last, when the job can start: this may delete an earlier job.
            folder = _create_folder(config, pool, overwrite)
            for name in REFERENCES:
                _measure(config, name, models[name], pool, rows, folder, console)
        summary = write_results(config, pool, rows, folder)
        summary["seconds"] = round(time.monotonic() - started, 1)
        replace_text(folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False))
    return summary


def _model(name: str, reference: ReferenceConfig) -> str | None:
    """Folder or hub name of a local model; None for an endpoint, whose key is checked here."""
    if reference.endpoint is not None:
        endpoint_key(reference.endpoint.key_variable)
        return None
    try:
        model, _, _ = load_config_and_tokenizer(str(reference.path))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    return model


def _choose_rows(config: AnchorsConfig, pool: TaskPool) -> npt.NDArray[np.int64]:
    """The rows to measure, in random order, so that every block is a fair sample and the time left can be estimated."""
    subset = config.run.subset
    if subset is not None and subset > len(pool):
        raise ConfigError(f"run.subset is {subset}, but the pool has only {len(pool)} tasks")
    return np.random.default_rng(config.run.seed).permutation(len(pool))[:subset]


def _check_prompts(
    config: AnchorsConfig, models: dict[str, str | None], pool: TaskPool, rows: npt.NDArray[np.int64]
) -> None:
    """Refuse a missing chat template or a prompt that is too long before an engine starts."""
    longest = config.rollout.max_model_len - config.rollout.max_tokens
    for name, model in models.items():
        if model is None:
            continue
        encoder = PromptEncoder(model, config.pool.template)
        for start in range(0, len(rows), 4096):
            part = rows[start : start + 4096]
            lengths = encoder.lengths([task["prompt"] for task in pool.take(part, ["prompt"])])
            if lengths.max() > longest:
                row = int(part[lengths.argmax()])
                raise ConfigError(
                    f"{name}: the prompt of task {pool.ids([row])[0]} has {lengths.max()} tokens; at most {longest} "
                    "leave room for a completion. Raise rollout.max_model_len, or set pool.max_prompt_tokens"
                )


def _check_folder(config: AnchorsConfig, pool: TaskPool, overwrite: bool) -> None:
    """Check that the job may use its folder, without changing anything. Raises ConfigError if it is another job's."""
    folder = config.run.path
    if not (folder.is_dir() and any(folder.iterdir())):
        return
    if kind_of(folder) != "anchors":
        what = "it is not overwritten" if overwrite else "choose another run.name"
        raise ConfigError(f"{folder} is not an anchors job's folder; {what}")
    if overwrite:
        return
    known = folder / CONFIG
    before = parse_config(AnchorsConfig, read_tree(known, []), str(known)).model_dump()
    now = config.model_dump()
    for section in before:
        if _kept_settings(before[section], section) != _kept_settings(now[section], section):
            raise ConfigError(
                f"{folder} holds a job with another `{section}` section; use the same one, choose "
                "another run.name, or replace it with --overwrite"
            )
    fingerprint = folder / FINGERPRINT
    if fingerprint.exists() and not pool.begins_with(fingerprint.read_text(), len(pool)):
        raise ConfigError(f"the pool has other tasks than when {folder} was begun; choose another run.name")


def _create_folder(config: AnchorsConfig, pool: TaskPool, overwrite: bool) -> Path:
    """Create, reuse or, with `overwrite`, replace the job's folder.

    Raises ConfigError as `_check_folder` does, and if the folder cannot be written.
    """
    folder = config.run.path
    _check_folder(config, pool, overwrite)
    try:
        if overwrite and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # First: it identifies the folder, even if this process is killed before the rest.
        replace_text(folder / CONFIG, dump_config(config))
        replace_text(folder / FINGERPRINT, pool.fingerprint)
        for name in REFERENCES:
            (folder / "blocks" / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable_folder(folder, error) from error
    return folder


def _kept_settings(section: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key not in _FREE.get(name, set())}


def _measure(
    config: AnchorsConfig,
    name: str,
    model: str | None,
    pool: TaskPool,
    rows: npt.NDArray[np.int64],
    folder: Path,
    console: Console,
) -> None:
    """Generate and grade every block that has no file yet; each is written as soon as it is done."""
    size = config.run.block
    blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
    done = {number for number in range(len(blocks)) if block_file(folder, name, number).exists()}
    if done:
        console.print(f"{name}: {len(done)} of {len(blocks)} blocks were measured before", highlight=False)
    todo = [number for number in range(len(blocks)) if number not in done]
    if not todo:
        return
    progress = Progress(
        TextColumn(f"{name:<6}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tasks, {task.fields[rate]:.0f} per second, left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    tasks = sum(len(blocks[number]) for number in todo)
    with progress:
        bar = progress.add_task(name, total=tasks, rate=0.0)
        started, finished, said = time.monotonic(), 0, 0.0
        for number, graded in graded_blocks(config, name, model, pool, blocks, todo):
            write_table(block_file(folder, name, number), graded)
            finished += graded.num_rows
            seconds = time.monotonic() - started
            progress.update(bar, completed=finished, rate=finished / seconds)
            if not console.is_terminal and (seconds > said + 30 or finished == tasks):
                said = seconds
                left = seconds / finished * (tasks - finished)
                console.print(
                    f"{name}: {finished} of {tasks} tasks, {finished / seconds:.1f} per second, {left:.0f} s left",
                    highlight=False,
                )


def load_anchors_config(path: str | Path, overrides: list[str] | None = None) -> AnchorsConfig:
    """Read a YAML file, apply `section.key=value` overrides and check the result."""
    return parse_config(AnchorsConfig, read_tree(path, overrides or []), str(path))


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots anchors", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a YAML file with the sections run, pool, weak, strong, rollout")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="overrides a key of the file"
    )
    parser.add_argument("--overwrite", action="store_true", help="start over, replacing the job's folder")
    options = parser.parse_intermixed_args(arguments)

    def job(console: Console) -> None:
        config = load_anchors_config(options.config, options.overrides)
        console.print_json(data=measure_anchors(config, overwrite=options.overwrite, console=console))
        console.print(f"results in {config.run.path}", highlight=False, soft_wrap=True)

    return run_job("anchors", job, failures=(EndpointError,))


if __name__ == "__main__":
    sys.exit(main())
