"""The learner's part of a checkpoint: DeepSpeed's shards, restored exactly, even by a different number of ranks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch.distributed as dist

from actors.lean_deepspeed import deepspeed

CONVERSION_POLL_S = 30.0
_TAG = "learner"
_NOTE = "learner.json"


def save(engine: deepspeed.DeepSpeedEngine, folder: Path, state: dict[str, Any]) -> None:
    """Write every rank's shard of model and optimizer, and `state`; all ranks call it together."""
    engine.save_checkpoint(str(folder), tag=_TAG, client_state=state, save_latest=False)
    if dist.get_rank() == 0:
        note = {"ranks": dist.get_world_size(), "zero_stage": engine.zero_optimization_stage()}
        (folder / _NOTE).write_text(json.dumps(note))


def load(engine: deepspeed.DeepSpeedEngine, folder: Path) -> dict[str, Any]:
    """Restore what `save` wrote and return its `state`; all ranks call it together.

    If the number of ranks differs, the shards are first merged into DeepSpeed's universal format, once per node, in a
    temporary folder that takes three times the size of the parameters in float32.
    Raises FileNotFoundError for a folder without learner state, and ValueError if it has another ZeRO stage.
    """
    note_file = folder / _NOTE
    if not note_file.exists():
        raise FileNotFoundError(f"no learner state in checkpoint {folder}")
    note = json.loads(note_file.read_text())
    stage = engine.zero_optimization_stage()
    if note["zero_stage"] != stage:
        raise ValueError(
            f"checkpoint {folder} was written with learner.zero_stage = {note['zero_stage']}, now it is {stage}; "
            "a resumed run must keep it"
        )
    if note["ranks"] == dist.get_world_size() or stage == 0:
        return _load(engine, folder)
    with _universal(folder) as merged:
        # DeepSpeed reads this at load time only; setting it at initialisation would already need the folder.
        engine._config.load_universal_checkpoint = True
        try:
            return _load(engine, merged)
        finally:
            engine._config.load_universal_checkpoint = False


def _load(engine: deepspeed.DeepSpeedEngine, folder: Path) -> dict[str, Any]:
    path, state = engine.load_checkpoint(str(folder), tag=_TAG)
    if path is None:
        raise FileNotFoundError(f"no learner state in checkpoint {folder}")
    return dict(state)


@contextlib.contextmanager
def _universal(folder: Path) -> Iterator[Path]:
    """The checkpoint in DeepSpeed's universal format, built by the first rank of each node for the others."""
    nodes: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(nodes, socket.gethostname())
    first = nodes.index(nodes[dist.get_rank()]) == dist.get_rank()
    made, conversion = None, None
    if first:
        made = Path(tempfile.mkdtemp(prefix="universal-"))
        conversion = ThreadPoolExecutor(1).submit(_convert, folder / _TAG, made / _TAG)
    # Takes minutes for a large model. The waiting ranks get regular signs of progress, since a collective that one of
    # them enters late would fail.
    replies: list[Any] = [None] * dist.get_world_size()
    while True:
        done = conversion is None or bool(wait([conversion], CONVERSION_POLL_S).done)
        error = conversion.exception() if conversion is not None and done else None
        failure = f"{type(error).__name__}: {error}" if error else None
        dist.all_gather_object(replies, (str(made), failure, done))
        if all(done for *_, done in replies):
            break
    try:
        failed = [failure for _, failure, _ in replies if failure]
        if failed:
            raise RuntimeError(
                f"checkpoint {folder} cannot be re-sharded for {len(nodes)} ranks: {failed[0]}"
            )
        yield Path(replies[nodes.index(nodes[dist.get_rank()])][0])
        dist.barrier()
    finally:
        if made:
            shutil.rmtree(made)


def _convert(shards: Path, target: Path) -> None:
    from deepspeed.checkpoint import ds_to_universal

    target.mkdir()
    options = Namespace(
        input_folder=str(shards),
        output_folder=str(target),
        # In this process: a forked one would inherit the process group.
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        ds_to_universal.main(options)
