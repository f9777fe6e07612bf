"""A learner rank's memory plan against its measured memory: real optimizer steps of random models on a CPU.

    python -m benchmarks.memory                          # 10 M, 135 M and 494 M parameters
    python -m benchmarks.memory --sizes 135 --stage 3 --dtype bfloat16 --checkpointing

Every case runs in its own process, which first trains a tiny model the same way, so that code is not counted.
Measured is the peak above the level before the model was loaded. glibc gives freed blocks back at once here, so that
this is what tensors hold; by default (`--default-malloc`) it keeps blocks of up to 32 MiB, at 10 M parameters about 100
MiB in all.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

from benchmarks import peak as memory
from bots.config.train import TrainConfig
from bots.config.tree import parse_config
from bots.learning.batching import make_rank_batches
from bots.learning.footprint import footprint
from bots.learning.memory_plan import learner_rank
from bots.rollouts.rollout import Group, Rollout

SIZES: dict[str, dict[str, int | bool]] = {
    # SmolLM2-135M and Qwen2.5-0.5B by their shapes; the first is a small one of the same kind.
    "10": {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4,
           "num_key_value_heads": 2, "vocab_size": 16_384},
    "135": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
            "num_key_value_heads": 3, "vocab_size": 49_152},
    "494": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
            "num_key_value_heads": 2, "vocab_size": 151_936},
}  # fmt: skip


RETURN_FREED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Environment in which glibc's allocator keeps no freed memory."""


TINY: dict[str, int | bool] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 16_384,
}  # fmt: skip
"""A model of which nothing but the code that it needs shows in a process's memory."""


def model_folder(size: str, folder: str) -> str:
    """A model with random weights of that many million parameters."""
    return model_of(SIZES[size], folder)


def model_of(shape: dict[str, int | bool], folder: str) -> str:
    """A model of a shape, with random weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=True, **shape)).save_pretrained(folder)
    return folder


def job(folder: str, options: argparse.Namespace) -> TrainConfig:
    """A configuration of one rank."""
    learner = {
        "zero_stage": options.stage,
        "tokens_per_micro_batch": options.tokens,
        "packing": options.packing,
    }
    tree = {
        "run": {"name": "memory", "steps": 1},
        "model": {"path": folder, "dtype": options.dtype, "gradient_checkpointing": options.checkpointing},
        "pool": {"sources": [{"kind": "lab", "size": 10}]},
        "rollout": {"max_tokens": options.tokens // 4, "max_model_len": options.tokens},
        "learner": learner,
    }
    return parse_config(TrainConfig, tree, "memory")


def groups(tokens: int, vocabulary: int) -> list[Group]:
    """Two full micro-batches, of samples that are nearly all completion."""
    rng = np.random.default_rng(0)
    size = tokens // 4 - 8
    rollouts = [
        Rollout(
            rng.integers(0, vocabulary, size).astype(np.int32),
            np.full(size, -9.0, np.float32),
            "",
            True,
            0,
            "",
        )
        for _ in range(8)
    ]
    return [Group(0, np.arange(8, dtype=np.int32), rollouts, np.arange(8.0))]


def two_steps(path: str, config: TrainConfig, options: argparse.Namespace, vocabulary: int) -> float:
    """Two optimizer steps and a gathering of the weights; returns the process's peak until the model was there."""
    from actors.learner import Learner

    learner = Learner(path, config.model, config.learner, 1.0)
    loaded = memory.peak()
    shards = make_rank_batches(
        groups(options.tokens, vocabulary), "grpo", 1, options.tokens, options.tokens, packed=options.packing
    )
    for step in (1, 2):
        learner.update(shards[0], step)
    for bucket in learner.weight_buckets():
        del bucket
    return loaded


def measure(options: argparse.Namespace) -> None:
    """One case, in this process; prints a line of JSON."""
    import torch.distributed as dist

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = model_folder(options.sizes[0], folder)
        config = job(path, options)
        sizes = footprint(path, getattr(torch, options.dtype))
        need = learner_rank(config, sizes, options.packing)
        os.environ |= {
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "0",
        }
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        tiny = model_of(TINY, f"{folder}/tiny")
        two_steps(tiny, job(tiny, options), options, TINY["vocab_size"])
        # What DeepSpeed ties in circles.
        gc.collect()
        before = memory.resident()
        memory.begin()
        loaded = two_steps(path, config, options, sizes.vocabulary) - before
        measured = memory.peak() - before
    parts = {part.name: round(part.bytes / 2**20) for part in need.parts}
    print(json.dumps({"planned": need.bytes / 2**20, "measured": measured, "start": loaded, "parts": parts}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--stage", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--packing", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--default-malloc", action="store_true", help="let glibc keep freed memory")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        measure(options)
        return
    malloc = {} if options.default_malloc else RETURN_FREED
    given = sys.argv[1:]
    if "--sizes" in given:
        start = given.index("--sizes")
        given = given[:start] + given[start + 1 + len(options.sizes) :]
    for size in options.sizes:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", *given, "--here", "--sizes", size],
            env=os.environ | {"DS_ACCELERATOR": "cpu"} | malloc, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        off = found["planned"] / found["measured"] - 1
        parts = ", ".join(f"{name} {mib}" for name, mib in found["parts"].items())
        print(
            f"{size:>4} M  planned {found['planned']:7.0f} MiB  measured {found['measured']:7.0f}  {off:+.0%}  "
            f"({parts}; at the start {found['start']:.0f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
