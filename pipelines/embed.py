"""Embed every prompt of a pool with a language model: the mean of its last hidden states.

`bots embed configs/lab.yaml` writes `runs/lab.embeddings.parquet` (id, embedding), which a source's `embeddings` joins
to its tasks. Selectors, evidence and features that need embeddings read the column `embedding`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel
from transformers.utils import logging

from bots.config.pool import PoolConfig
from bots.config.tree import ConfigError
from bots.pool import EMBEDDING, TaskPool
from bots.rollouts.templates import PromptEncoder
from bots.sources.base import SourceError
from bots.support.arrays import Float32
from bots.support.files import replacing
from pipelines.pool import load_job
from pipelines.shared.command import run_job
from pipelines.shared.job_folder import check_writable
from pipelines.shared.pool import build_pool
from pipelines.shared.preflight import load_config_and_tokenizer

TOKENS = 16_384
"""Tokens of a forward pass, padding included; a longer prompt has a pass to itself."""


@dataclass(frozen=True)
class Job:
    """What to embed, with what, and where to write it."""

    pool: PoolConfig
    model: str
    target: Path


def embed(job: Job, console: Console, overwrite: bool = False) -> Path:
    """Write the embeddings, as float16 in one Parquet file, whole or not at all; returns its path.

    Runs on one GPU if PyTorch sees any, in the model's own precision, else on the CPU in float32.
    Raises ConfigError, SourceError or PoolError before the model is loaded.
    """
    if job.target.exists() and not overwrite:
        raise ConfigError(
            f"{job.target} exists; name another file with --out, or replace it with --overwrite"
        )
    check_writable(job.target.parent, "--out")
    model, config, tokenizer = load_config_and_tokenizer(job.model)
    pool = build_pool(job.pool, tokenizer)
    pool.require("prompt")
    prompts = PromptEncoder(tokenizer, job.pool.template).encode(pool.table["prompt"].to_pylist())
    _check_lengths(pool, prompts, getattr(config.get_text_config(), "max_position_embeddings", None))
    vectors = _means(model, prompts, console)
    if not np.isfinite(vectors).all():
        row = int(np.argmax(~np.isfinite(vectors).all(axis=1)))
        raise ConfigError(f"{job.model} gives task {pool.ids([row])[0]} hidden states that are not finite")
    width = vectors.shape[1]
    column = pa.FixedSizeListArray.from_arrays(vectors.astype(np.float16).ravel(), width)
    table = pa.table({"id": pool.table["id"], EMBEDDING: column}).replace_schema_metadata(
        {"model": job.model}
    )
    job.target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(job.target) as partial:
        pq.write_table(table, partial, compression="zstd")
    console.print(
        f"{len(pool):,} embeddings of {width} numbers by {job.model}: {job.target}",
        highlight=False,
        soft_wrap=True,
    )
    return job.target


def _check_lengths(pool: TaskPool, prompts: list[npt.NDArray[np.int32]], most: int | None) -> None:
    longest = int(np.argmax([len(ids) for ids in prompts]))
    if most is not None and len(prompts[longest]) > most:
        raise ConfigError(
            f"the prompt of task {pool.ids([longest])[0]} has {len(prompts[longest])} tokens, and the model takes "
            f"{most}; set pool.max_prompt_tokens, or name another --model"
        )


@torch.inference_mode()
def _means(model: str, prompts: list[npt.NDArray[np.int32]], console: Console) -> Float32:
    """Mean over a prompt's tokens of the last layer's hidden states, float32 (len(prompts), hidden size)."""
    gpu = torch.cuda.is_available()
    logging.disable_progress_bar()  # ours shows what takes long
    network = AutoModel.from_pretrained(model, dtype="auto" if gpu else torch.float32).eval()
    network.to("cuda" if gpu else "cpu")
    out = np.empty((len(prompts), network.config.get_text_config().hidden_size), np.float32)
    shown = Progress(
        "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )
    with shown:
        bar = shown.add_task("prompts", total=len(prompts))
        for rows in _batches([len(ids) for ids in prompts]):
            chosen = [torch.from_numpy(prompts[row].astype(np.int64)) for row in rows]
            ids = pad_sequence(chosen, batch_first=True).to(network.device)
            mask = pad_sequence([torch.ones_like(one) for one in chosen], batch_first=True).to(network.device)
            states: Any = network(ids, attention_mask=mask, use_cache=False).last_hidden_state.float()
            weights = mask[:, :, None].float()
            out[rows] = ((states * weights).sum(dim=1) / weights.sum(dim=1)).cpu().numpy()
            shown.advance(bar, len(rows))
    return out


def _batches(lengths: list[int]) -> Iterator[npt.NDArray[np.int64]]:
    """Rows by rising length, as many at a time as have `TOKENS` tokens with padding."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end + 1 - start) * lengths[order[end]] > TOKENS:
            yield order[start:end]
            start = end


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots embed", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a train job's YAML file, or one with a pool alone (and model.path)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="laid over the file")
    parser.add_argument("--model", help="folder or hub name of the model, or lab:base; default: model.path")
    parser.add_argument(
        "--out", type=Path, help="the Parquet file; default: RUN.embeddings.parquet beside the run"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    options = parser.parse_intermixed_args(arguments)

    def job(console: Console) -> None:
        pools = load_job(options.config, options.overrides, None)
        model = options.model or pools.model
        if model is None:
            raise ConfigError("no model is named: give --model, or model.path in the configuration")
        target = options.out or pools.page.with_name(
            pools.page.name.replace("pool.html", "embeddings.parquet")
        )
        embed(Job(pools.pools["pool"], model, target), console, options.overwrite)

    return run_job("embed", job, failures=(SourceError,))


if __name__ == "__main__":
    sys.exit(main())
