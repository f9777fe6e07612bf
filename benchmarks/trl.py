"""Seconds per step of `bots train` against TRL's GRPOTrainer: same model, tasks, graders, batch and loss, alternating.

    python -m benchmarks.trl [--rounds 3] [--steps 12] [section.key=value …]

Both train the lab's model on 32 tasks x 8 completions of at most 64 tokens a step, selected at random, without
evaluations or checkpoints: TRL 1.16 with transformers' `generate` in one process on all cores, BOTS with
configs/lab.yaml. Each round runs each in a separate process, and the order alternates. Prints the median seconds per
step after the fourth, and the ratio of steps per second with its spread over the rounds. Only this benchmark requires
TRL (`make peers`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LAB = Path(__file__).parents[1] / "configs" / "lab.yaml"
WARM_UP = 4


def trl(steps: int) -> float:
    """Median seconds per step of TRL, in this process."""
    import datasets
    import torch
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from benchmarks.trl_selection import right
    from bots.lab.checkpoints import checkpoint_path, load
    from bots.lab.pool import lab_table

    class Clock(TrainerCallback):  # type: ignore[misc]
        """When each step ended."""

        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.perf_counter())

    torch.manual_seed(0)
    model, tokenizer = load(checkpoint_path("base"))
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        args = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=256,
            num_generations=8,
            max_completion_length=64,
            max_steps=steps,
            learning_rate=1e-4,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=10,
            loss_type="dapo",
            beta=0.0,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            seed=0,
        )
        GRPOTrainer(
            model=model,
            reward_funcs=right,
            args=args,
            train_dataset=datasets.Dataset(lab_table(4000, seed=7, anchors=True)),
            processing_class=tokenizer,
            callbacks=[clock],
        ).train()
    return statistics.median(b - a for a, b in zip(clock.ends[WARM_UP - 1 :], clock.ends[WARM_UP:]))  # noqa: B905


def bots(steps: int, overrides: list[str]) -> float:
    """Median seconds per step of this project, in this process and its cluster."""
    from bots.config.train import load_config
    from pipelines.shared.summary import read_metrics
    from pipelines.train import train

    with tempfile.TemporaryDirectory() as folder:
        fixed = [
            "selection.selector=random",
            f"run.steps={steps}",
            f"run.folder={folder}",
            "run.checkpoint_every=0",
            "evaluation.pool=null",
        ]
        config = load_config(LAB, [*fixed, *overrides])
        train(config)
        records = [record for record in read_metrics(config.run.path) if record["step"] > WARM_UP]
    return statistics.median(record["seconds"] for record in records)


def measured(side: str, steps: int, overrides: list[str]) -> float:
    """One run of a side in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.trl", "--only", side, "--steps", str(steps), *overrides]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--only", choices=["trl", "bots"], help="one run of one side, in this process")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = parser.parse_intermixed_args()
    if options.only:
        seconds = trl(options.steps) if options.only == "trl" else bots(options.steps, options.overrides)
        print(json.dumps({"seconds": seconds}))
        return
    ratios = []
    print(f"{'round':>5}{'TRL s/step':>12}{'BOTS s/step':>13}{'ratio':>8}")
    for number in range(1, options.rounds + 1):
        sides = ("trl", "bots") if number % 2 else ("bots", "trl")
        seconds = {side: measured(side, options.steps, options.overrides) for side in sides}
        ratios.append(seconds["trl"] / seconds["bots"])
        print(f"{number:>5}{seconds['trl']:>12.2f}{seconds['bots']:>13.2f}{ratios[-1]:>8.2f}", flush=True)
    print(
        f"steps per second over TRL's: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
