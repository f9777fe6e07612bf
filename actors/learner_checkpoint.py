"""The learner's part of a checkpoint: DeepSpeed's shards, restored exactly, even by a different number of ranks.

`snapshot` copies the state to host memory, which stops training for as long as a copy takes; a thread may write it
while the next steps run.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import socket
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from actors.lean_deepspeed import deepspeed

CONVERSION_POLL_S = 30.0
_TAG = "learner"
_NOTE = "learner.json"


@dataclass
class Snapshot:
    """A rank's shards in host memory. states: file and content. small: files that are written already."""

    states: list[tuple[Path, Any]]
    small: list[Path] = field(default_factory=list)

    def write(self) -> list[Path]:
        """Write the shards and let go of them; returns all files of this rank. Any thread may call it.

        Raises OSError with the reason and the file, for example of a full disk.
        """
        files = [*self.small, *(path for path, _ in self.states)]
        while self.states:
            path, state = self.states.pop()
            _save(state, path)
        return files


def _save(state: Any, path: Path) -> None:
    try:
        # Python's own file: PyTorch's says only "unexpected pos" where a disk is full.
        with path.open("wb") as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        reason = error if isinstance(error, OSError) else error.__context__
        if not isinstance(reason, OSError) or reason.errno is None:
            raise
        raise OSError(
            reason.errno,
            f"{os.strerror(reason.errno)}, while a checkpoint was written; earlier ones are whole. Make room or "
            "lower run.checkpoints_kept, then go on with --resume",
            str(path),
        ) from error


class _InMemory(deepspeed.runtime.checkpoint_engine.TorchCheckpointEngine):  # type: ignore[misc]
    """Takes copies of what DeepSpeed would write."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[tuple[Path, Any]] = []

    def save(self, state_dict: Any, path: str) -> None:
        self.states.append((Path(path), copied(state_dict, {})))


def snapshot(engine: deepspeed.DeepSpeedEngine, folder: Path, state: dict[str, Any]) -> Snapshot:
    """Every rank's shard of model and optimizer, and `state`, to be written into a folder; all ranks call it together.

    The folder is made, with DeepSpeed's scripts in it; nothing large is written.
    """
    kept = _InMemory()
    writing, engine.checkpoint_engine = engine.checkpoint_engine, kept
    try:
        engine.save_checkpoint(str(folder), tag=_TAG, client_state=state, save_latest=False)
    finally:
        engine.checkpoint_engine = writing
    if dist.get_rank() != 0:
        return Snapshot(kept.states)
    note = {"ranks": dist.get_world_size(), "zero_stage": engine.zero_optimization_stage()}
    (folder / _NOTE).write_text(json.dumps(note))
    return Snapshot(kept.states, [folder / _NOTE, *sorted(folder.glob("*.py"))])


def copied(value: Any, storages: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]]) -> Any:
    """A copy in host memory of nested containers with tensors.

    Tensors that share memory share it in the copy, so that PyTorch saves it once. storages: those copied so far, by
    address, each with its original, which must live as long as its address stands for it.
    """
    if isinstance(value, torch.Tensor):
        old = value.untyped_storage()
        if old._cdata not in storages:
            onto_host: Any = old.clone if old.device.type == "cpu" else old.cpu
            storages[old._cdata] = old, onto_host()
        _, new = storages[old._cdata]
        tensor = torch.empty(0, dtype=value.dtype)
        return tensor.set_(new, value.storage_offset(), value.size(), value.stride())
    if isinstance(value, dict):
        same = copy.copy(value)  # also its class and attributes, such as a state dict's metadata
        for name, item in value.items():
            same[name] = copied(item, storages)
        return same
    if isinstance(value, list):
        return [copied(item, storages) for item in value]
    if type(value) is tuple:
        return tuple(copied(item, storages) for item in value)
    return copy.deepcopy(value)


def load(engine: deepspeed.DeepSpeedEngine, folder: Path) -> dict[str, Any]:
    """Restore what a snapshot wrote and return its `state`; all ranks call it together.

    If the number of ranks differs, the shards are first merged into DeepSpeed's universal format, once per node, in a
    temporary folder that takes up to 24 bytes per parameter: DeepSpeed keeps the parts until all are merged.
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
