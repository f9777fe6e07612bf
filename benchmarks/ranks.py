"""One step of several gloo ranks in bfloat16, ZeRO-3, checkpointing and LoRA, against one rank in float32.

    python -m benchmarks.ranks [--ranks 1 2 4 8] [--stages 3] [--full] [--dtypes float32 bfloat16]

The lab's base model, the same batch for all. For each case: the gradient's distance from that of one rank in float32
without ZeRO, relative to its norm; the cosine between both; the norm that the learner reports, over that of the one
rank; and the cosine of the steps of the float32 master weights. All over the trained parameters: the adapters, or with
`--full` the whole model. A pass is also that no rank ever waits for another in vain.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from bots.config.train import LearnerConfig, LoraConfig, ModelConfig
from bots.lab.checkpoints import checkpoint_path
from bots.learning.batching import RankBatch, make_rank_batches
from bots.rollouts.rollout import Group, Rollout

LIMIT_S = 300


def batches(ranks: int, packed: bool) -> list[RankBatch]:
    """Sixteen groups of four completions, in micro-batches of at most 64 tokens."""
    rng = np.random.default_rng(5)
    groups = []
    for row in range(16):
        rollouts = [
            Rollout(rng.integers(3, 30, n).astype(np.int32), np.full(n, -1.0, np.float32), "", True, 0, "")
            for n in rng.integers(3, 12, 4)
        ]
        groups.append(Group(row, rng.integers(3, 30, 8).astype(np.int32), rollouts, rng.random(4)))
    return make_rank_batches(groups, "grpo", ranks, 64, max_tokens=16, packed=packed)


def one_rank(rank: int, ranks: int, case: dict[str, Any], folder: str) -> None:
    """One rank of one case; rank 0 writes gradient, step and figures."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_grad

    from actors.learner import Learner

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    path = str(checkpoint_path("base"))
    model = ModelConfig(path=path, dtype=case["dtype"], gradient_checkpointing=case["everything"])
    config = LearnerConfig(
        ranks=ranks,
        zero_stage=case["stage"],
        lora=LoraConfig(rank=4, alpha=8.0) if case["lora"] else None,
        lr=1e-3,
        packing=case["everything"],
    )
    torch.manual_seed(0)
    learner = Learner(path, model, config, temperature=1.0)
    engine = learner.engine
    trained = [p for p in engine.module.parameters() if p.requires_grad]

    def masters() -> list[Tensor]:
        if not engine.zero_optimization():
            groups = getattr(engine.optimizer, "fp32_groups", None)
            return [p.detach().clone() for p in (groups[0] if groups else trained)]
        return [safe_get_full_fp32_param(p).clone() for p in trained]

    found: dict[str, Any] = {}
    step, before = engine.step, masters()

    def watched() -> None:
        found["gradient"] = [
            (safe_get_full_grad(p) if engine.zero_optimization() else p.grad).float().clone() for p in trained
        ]
        step()

    engine.step = watched
    told = learner.update(batches(ranks, learner.packed)[rank], step=1)
    moved = [after - was for after, was in zip(masters(), before, strict=True)]
    for _ in learner.weight_buckets():
        pass
    if rank == 0:
        flat = {"gradient": found["gradient"], "step": moved}
        torch.save(
            {name: torch.cat([t.flatten() for t in of]) for name, of in flat.items()} | {"told": told},
            Path(folder, "found"),
        )
    dist.destroy_process_group()


def run(ranks: int, **case: Any) -> dict[str, Any]:
    """A case on that many ranks, each its own process."""
    import actors.learner  # noqa: F401 (once, before the ranks are forked)

    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        group = [context.Process(target=one_rank, args=(r, ranks, case, folder)) for r in range(ranks)]
        for process in group:
            process.start()
        for process in group:
            process.join(LIMIT_S)
        codes = [process.exitcode for process in group]
        for process in group:
            if process.is_alive():
                process.kill()
        if any(code != 0 for code in codes):
            raise SystemExit(
                f"{ranks} ranks, {case}: exit codes {codes} (None: still running after {LIMIT_S} s)"
            )
        found: dict[str, Any] = torch.load(Path(folder, "found"))
    return found


def compare(found: dict[str, Any], truth: dict[str, Any]) -> dict[str, float]:
    """How far gradient and step are from those of one rank in float32."""
    mine, theirs = found["gradient"].double(), truth["gradient"].double()
    cosine = torch.nn.functional.cosine_similarity
    return {
        "gradient, distance": float((mine - theirs).norm() / theirs.norm()),
        "gradient, cosine": float(cosine(mine, theirs, dim=0)),
        "reported norm, ratio": found["told"]["grad_norm"] / truth["told"]["grad_norm"],
        "step, cosine": float(cosine(found["step"].double(), truth["step"].double(), dim=0)),
        "loss, difference": found["told"]["loss"] - truth["told"]["loss"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--stages", type=int, nargs="+", default=[3])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--full", action="store_true", help="train the whole model, without LoRA")
    options = parser.parse_args()
    os.environ["DS_ACCELERATOR"] = "cpu"
    lora = not options.full
    truth = run(1, dtype="float32", stage=0, lora=lora, everything=False)
    for dtype in options.dtypes:
        for stage in options.stages:
            for ranks in options.ranks:
                found = run(ranks, dtype=dtype, stage=stage, lora=lora, everything=True)
                line = {"ranks": ranks, "dtype": dtype, "stage": stage, "lora": lora}
                print(json.dumps(line | compare(found, truth)), flush=True)


if __name__ == "__main__":
    main()
