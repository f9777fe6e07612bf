"""Anchors job: the pass rates of a weak and a strong reference model on every task of a pool.

`python -m pipelines.anchors configs/lab_anchors.yaml rollout.samples=8`. Results in the job's folder:
`pool.parquet` (the pool with weak and strong), `anchors.parquet` (id, weak, strong of the measured tasks),
`anchors.png`, `summary.json`, and `blocks/`, from which a job that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.environment import driver_environment, engine_environment
from bots.files import replacing

os.environ.update({k: v for k, v in driver_environment().items() if k not in os.environ})

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from ray.data import ActorPoolStrategy, DataContext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from actors.reference import AnswerByEndpoint, AnswerLocally, EndpointError, GradeBlock, endpoint_key
from bots.config_tree import ConfigError, dump_config, parse_config, read_tree
from bots.pool import TaskPool
from bots.templates import PromptEncoder
from pipelines import plan
from pipelines.anchors_config import AnchorsConfig, ReferenceConfig
from pipelines.anchors_picture import draw
from pipelines.pool import build_pool
from pipelines.preparation import model_path
from pipelines.session import ray_session

MODELS = ("weak", "strong")
BLOCK = "block"
# Where and how fast a job runs may change when it goes on; what it measures may not.
_FREE = {
    "rollout": {"engines", "cpus", "gpus", "threads", "kv_cache_gib", "max_num_seqs", "timeout_s"}
    | {"gpu_memory_utilization", "enforce_eager"},
    "run": {"folder"},
    "grading": {"actors", "workers", "timeout_s", "memory_gib", "unsafe_code_without_sandbox"},
}


def measure_anchors(
    config: AnchorsConfig, *, overwrite: bool = False, console: Console | None = None
) -> dict[str, Any]:
    """Run the job, or go on where it stopped, and return its summary.

    overwrite: start anew in a folder that holds another job.
    Raises ConfigError, SourceError, PoolError or ResourceError before an engine starts.
    """
    console = console or Console()
    started = time.monotonic()
    models = {name: _model(name, getattr(config, name)) for name in MODELS}
    pool = build_pool(config.pool, next((model for model in models.values() if model), None))
    pool.require("prompt", "answer", "grader")
    rows = _chosen(config, pool)
    _check_prompts(config, models, pool, rows)
    folder = _claim_folder(config, pool, overwrite)
    with ray_session():
        if any(models.values()):
            one = plan.Demand("reference engine", 1, config.rollout.cpus, config.rollout.gpus, "rollout.cpus")
            plan.check([one], ray.cluster_resources())  # Ray Data would wait for ever
        for name in MODELS:
            _measure(config, name, models[name], pool, rows, folder, console)
    summary = _write_results(config, pool, rows, folder)
    summary["seconds"] = round(time.monotonic() - started, 1)
    _write(folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False).encode())
    return summary


def _model(name: str, reference: ReferenceConfig) -> str | None:
    """Where a local model lies; None for an endpoint, whose key is checked here."""
    if reference.endpoint is not None:
        endpoint_key(reference.endpoint.key_variable)
        return None
    try:
        return model_path(str(reference.path))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _chosen(config: AnchorsConfig, pool: TaskPool) -> npt.NDArray[np.int64]:
    """The rows to measure, in an order in which every block is a fair sample: the time left can be trusted."""
    subset = config.run.subset
    if subset is not None and subset > len(pool):
        raise ConfigError(f"run.subset is {subset}, but the pool has only {len(pool)} tasks")
    return np.random.default_rng(config.run.seed).permutation(len(pool))[:subset]


def _check_prompts(
    config: AnchorsConfig, models: dict[str, str | None], pool: TaskPool, rows: npt.NDArray[np.int64]
) -> None:
    """A missing template or a prompt that is too long is known before an engine starts."""
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
                    "leave room for an answer: raise rollout.max_model_len, or set pool.max_prompt_tokens"
                )


def _claim_folder(config: AnchorsConfig, pool: TaskPool, overwrite: bool) -> Path:
    """The job's folder, new or that of the same job. Raises ConfigError for another job's."""
    folder = config.run.path
    claim = folder / "config.yaml"
    if overwrite and folder.exists():
        if not claim.exists():
            raise ConfigError(f"{folder} is not an anchors job's folder, it will not be overwritten")
        shutil.rmtree(folder)
    print_of_pool = folder / "pool.fingerprint"
    if claim.exists():
        before = parse_config(AnchorsConfig, read_tree(claim, []), str(claim)).model_dump()
        now = config.model_dump()
        for section in before:
            if _held(before[section], section) != _held(now[section], section):
                raise ConfigError(
                    f"{folder} holds a job with another `{section}` section; go on with the same one, choose "
                    "another run.name, or replace it with --overwrite"
                )
        if print_of_pool.read_text() != pool.fingerprint:
            raise ConfigError(
                f"the pool has other tasks than when {folder} was begun; choose another run.name"
            )
    for name in MODELS:
        (folder / "blocks" / name).mkdir(parents=True, exist_ok=True)
    _write(print_of_pool, pool.fingerprint.encode())
    _write(claim, dump_config(config).encode())
    return folder


def _held(section: dict[str, Any], name: str) -> dict[str, Any]:
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
    """Answer and grade every block that has no file yet; each is written as soon as it is done."""
    size = config.run.block
    blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
    done = {number for number in range(len(blocks)) if _block_file(folder, name, number).exists()}
    if done:
        console.print(f"{name}: {len(done)} of {len(blocks)} blocks were measured before", highlight=False)
    todo = [number for number in range(len(blocks)) if number not in done]
    if not todo:
        return
    progress = Progress(
        TextColumn(f"{name:<6}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tasks, {task.fields[rate]:.0f} a second, left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    tasks = sum(len(blocks[number]) for number in todo)
    with progress:
        bar = progress.add_task(name, total=tasks, rate=0.0)
        started, finished, said = time.monotonic(), 0, 0.0
        for number, graded in _graded_blocks(config, name, model, pool, blocks, todo):
            _write_table(_block_file(folder, name, number), graded)
            finished += graded.num_rows
            seconds = time.monotonic() - started
            progress.update(bar, completed=finished, rate=finished / seconds)
            if not console.is_terminal and (seconds > said + 30 or finished == tasks):
                said = seconds
                left = seconds / finished * (tasks - finished)
                console.print(
                    f"{name}: {finished} of {tasks} tasks, {finished / seconds:.1f} a second, {left:.0f} s left",
                    highlight=False,
                )


def _graded_blocks(
    config: AnchorsConfig,
    name: str,
    model: str | None,
    pool: TaskPool,
    blocks: list[npt.NDArray[np.int64]],
    todo: list[int],
) -> Iterator[tuple[int, pa.Table]]:
    """Stream the blocks through engines and graders; yields (number, id, rewards, failure, tokens) as they end."""
    rollout = config.rollout
    reference: ReferenceConfig = getattr(config, name)
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False  # the job has its own
    context.raise_original_map_exception = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    tables = [_task_block(config, name, pool, blocks[number], number) for number in todo]
    with DataContext.current(context):
        data = ray.data.from_arrow(tables)
        if reference.endpoint is None:
            data = data.map_batches(
                AnswerLocally,
                fn_constructor_args=(model, rollout, config.pool.template),
                batch_size=config.run.block,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(min_size=1, max_size=rollout.engines),
                num_cpus=rollout.cpus,
                num_gpus=rollout.gpus,
                runtime_env={"env_vars": engine_environment(rollout.threads, rollout.gpus > 0)},
            )
        else:
            endpoint = reference.endpoint.model_dump() | {
                "key": endpoint_key(reference.endpoint.key_variable)
            }
            data = data.map_batches(
                AnswerByEndpoint,
                fn_constructor_args=(endpoint, rollout),
                batch_size=config.run.block,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(size=1),
                num_cpus=0.1,
            )
        data = data.map_batches(
            GradeBlock,
            fn_constructor_args=(config.grading, pool.table["grader"].unique().to_pylist()),
            batch_size=config.run.block,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(min_size=1, max_size=config.grading.actors),
            num_cpus=0,  # idle most of the time; a share of a core would cost an engine
        )
    gathered: dict[int, list[pa.Table]] = {}
    for table in _tables(data):
        # Ray Data may cut or join blocks on their way.
        for number in table[BLOCK].unique().to_pylist():
            parts = gathered.setdefault(number, [])
            parts.append(table.filter(pc.equal(table[BLOCK], number)))
            if sum(part.num_rows for part in parts) == len(blocks[number]):
                yield number, pa.concat_tables(gathered.pop(number)).drop_columns([BLOCK])


def _tables(data: ray.data.Dataset) -> Iterator[pa.Table]:
    """The stream's tables as soon as each is there; an error in an actor is raised as it was."""
    try:
        for bundle in data.iter_internal_ref_bundles():
            for entry in bundle.blocks:
                yield ray.get(entry.ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ValueError | EndpointError):  # ours: the message says what to do
            raise error.cause from None
        raise


def _task_block(
    config: AnchorsConfig, name: str, pool: TaskPool, rows: npt.NDArray[np.int64], number: int
) -> pa.Table:
    """One block as it goes to the engines. Each task has a seed of its own, so blocks can come in any order."""
    entropy = (config.run.seed, MODELS.index(name))
    seeds = [
        # vLLM gives the i-th answer of a request the seed plus i; spread the requests apart.
        int(np.random.SeedSequence((*entropy, int(row))).generate_state(1)[0] % (2**31 - 2**16))
        for row in rows
    ]
    table = pool.table.select(["id", "prompt", "answer", "grader"]).take(pa.array(rows))
    table = table.append_column("seed", pa.array(seeds, pa.int64()))
    return table.append_column(BLOCK, pa.array(np.full(len(rows), number, np.int32))).combine_chunks()


def _block_file(folder: Path, name: str, number: int) -> Path:
    return folder / "blocks" / name / f"{number:06d}.parquet"


def _write_results(
    config: AnchorsConfig, pool: TaskPool, rows: npt.NDArray[np.int64], folder: Path
) -> dict[str, Any]:
    """Join the blocks to the pool by id, write the tables and the picture; returns the summary."""
    table = pool.table
    summary: dict[str, Any] = {"tasks": len(pool), "measured": len(rows), "samples": config.rollout.samples}
    for name in MODELS:
        measured = pq.read_table(folder / "blocks" / name)
        rates = _pass_rates(measured["rewards"].combine_chunks())
        where = pc.index_in(table["id"], value_set=measured["id"].combine_chunks()).combine_chunks()
        column = rates.take(where)
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
        flat = measured["rewards"].combine_chunks().flatten()
        failures = measured["failure"].drop_null()
        summary[name] = {
            "mean": pc.mean(rates).as_py(),
            "never_solved": int(pc.sum(pc.equal(rates, 0)).as_py() or 0),
            "always_solved": int(pc.sum(pc.equal(rates, 1)).as_py() or 0),
            "ungraded_answers": flat.null_count,
            "first_failure": failures[0].as_py() if len(failures) else None,
            "tokens": pc.sum(measured["tokens"]).as_py(),
        }
    known = table.filter(pc.and_(pc.is_valid(table["weak"]), pc.is_valid(table["strong"])))
    weak, strong = (known[name].to_numpy() for name in MODELS)
    if len(known):
        summary |= draw(weak, strong, known["domain"].to_pylist(), folder / "anchors.png")
    _write_table(folder / "pool.parquet", table)
    _write_table(folder / "anchors.parquet", known.select(["id", *MODELS]))
    return summary


def _pass_rates(rewards: pa.ListArray) -> pa.FloatArray:
    """float32 (tasks,): mean reward of the graded answers; null where none could be graded."""
    owners = rewards.value_parent_indices()
    values = rewards.flatten()
    graded = values.is_valid()
    counts = np.bincount(owners.filter(graded).to_numpy(), minlength=len(rewards))
    sums = np.bincount(
        owners.filter(graded).to_numpy(), weights=values.drop_null().to_numpy(), minlength=len(rewards)
    )
    with np.errstate(invalid="ignore"):
        return pa.array((sums / counts).astype(np.float32), mask=counts == 0)


def _write_table(path: Path, table: pa.Table) -> None:
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)


def load_anchors_config(path: str | Path, overrides: list[str] | None = None) -> AnchorsConfig:
    """Read a YAML file, lay `section.key=value` overrides over it and check the whole."""
    return parse_config(AnchorsConfig, read_tree(path, overrides or []), str(path))


def main(arguments: list[str] | None = None) -> int:
    """The command `bots anchors`: exit status 0 done, 2 refused, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="bots anchors", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a YAML file with the sections run, pool, weak, strong, rollout")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="laid over the file")
    parser.add_argument("--overwrite", action="store_true", help="start anew, replacing the job's folder")
    options = parser.parse_intermixed_args(arguments)
    console = Console()
    try:
        config = load_anchors_config(options.config, options.overrides)
        summary = measure_anchors(config, overwrite=options.overwrite, console=console)
    except (ValueError, EndpointError, plan.ResourceError) as error:
        Console(stderr=True).print(f"bots anchors: {error}", markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; finished blocks are kept, the same command goes on")
        return 130
    console.print_json(data=summary)
    console.print(f"results in {config.run.path}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
