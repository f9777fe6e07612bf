"""Export of the trained policy as a folder that transformers and vLLM load like any other model."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ray
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoTokenizer

from actors.weights.format import Bucket
from bots.support.files import replace_text

INDEX = "model.safetensors.index.json"
_WEIGHTS = ("*.safetensors", "*.bin", "*.index.json", "*.pt", "*.pth", "*.gguf", ".*")


def fetch_weights(broker: Any) -> Iterator[Bucket]:
    """The newest weights the broker holds, one bucket at a time."""
    _, buckets = ray.get(broker.references.remote())
    for bucket in buckets:
        with warnings.catch_warnings():
            # Arrays in the object store are read-only, and they are only read here.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            yield ray.get(bucket)


def write_model(buckets: Iterable[Bucket], base: str, folder: Path) -> None:
    """Write weights, configuration and tokenizer; replaces an earlier export in the folder.

    buckets: the policy's parameters under their checkpoint names; each becomes one file, and only one is in memory at
    a time. base: folder or hub name of the model that training started from, for its configuration and tokenizer.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    if Path(base).is_dir():
        # Copied, because loading and saving a tokenizer can change it.
        shutil.copytree(base, partial, ignore=shutil.ignore_patterns(*_WEIGHTS))
    else:
        AutoConfig.from_pretrained(base).save_pretrained(partial)
        AutoTokenizer.from_pretrained(base).save_pretrained(partial)
    files: dict[str, str] = {}
    tensors: dict[str, torch.Tensor] = {}
    size = 0
    for number, bucket in enumerate(buckets):
        name = f"model-{number:05d}.safetensors"
        tensors = {key: tensor.contiguous() for key, tensor in bucket}
        save_file(tensors, str(partial / name), metadata={"format": "pt"})
        files |= dict.fromkeys(tensors, name)
        size += sum(tensor.nbytes for tensor in tensors.values())
    _set_dtype(partial / "config.json", tensors)
    index = {"metadata": {"total_size": size}, "weight_map": files}
    replace_text(partial / INDEX, json.dumps(index, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _set_dtype(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write the weights' dtype into config.json: loaders read it there, and the base model's may differ."""
    settings = json.loads(path.read_text())
    settings.pop("torch_dtype", None)
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}
    replace_text(path, json.dumps(settings | {"dtype": dtypes.pop()}, indent=2) + "\n")
