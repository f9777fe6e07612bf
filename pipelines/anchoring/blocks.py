"""Blocks of tasks on their way through Ray Data: answered by a reference model, graded, and joined again."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import ActorPoolStrategy, DataContext

from actors.environment import engine_environment
from actors.reference import AnswerByEndpoint, AnswerLocally, EndpointError, GradeBlock, endpoint_key
from bots.pool import TaskPool
from pipelines.anchoring.config import REFERENCES, AnchorsConfig, ReferenceConfig

BLOCK = "block"


def graded_blocks(
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
        data: ray.data.Dataset = ray.data.from_arrow(tables)
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
    entropy = (config.run.seed, REFERENCES.index(name))
    seeds = [
        # vLLM gives the i-th answer of a request the seed plus i; spread the requests apart.
        int(np.random.SeedSequence((*entropy, int(row))).generate_state(1)[0] % (2**31 - 2**16))
        for row in rows
    ]
    table = pool.table.select(["id", "prompt", "answer", "grader"]).take(pa.array(rows))
    table = table.append_column("seed", pa.array(seeds, pa.int64()))
    return table.append_column(BLOCK, pa.array(np.full(len(rows), number, np.int32))).combine_chunks()
