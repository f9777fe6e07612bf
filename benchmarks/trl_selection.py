"""TRL with and without BOTS, on the lab's model and tasks, paired by seed.

    python -m benchmarks.trl_selection --seeds 3 --steps 60 --out runs/trl_selection.jsonl

Trains `trl.GRPOTrainer` and `BOTSGRPOTrainer` one after the other for each seed, with the same data, settings and
evaluations, and appends a line to `--out` for each run not in it yet. When restarted, it resumes from each run's newest
checkpoint, also with more `--steps`. Then it prints, for each seed, what BOTS spends until it reaches the best held-out
score of TRL's own order, over what TRL spends: steps, generated tokens, and training seconds (without evaluation); and
for each arm its best and last score, effective task ratio and generated tokens. Seconds are CPU time of the process,
which other load on the machine distorts less than wall-clock time; set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from bots import BOTS, TaskPool
from bots.adapters.trl import BOTSGRPOTrainer
from bots.lab.checkpoints import checkpoint_path, load
from bots.lab.graders import GRADERS
from bots.lab.pool import lab_table
from bots.metrics import Curve, mean_interval, time_to_best

ARMS = ("random", "bots")


def right(
    prompts: list[str], completions: list[str], answer: list[str], grader: list[str], **_: Any
) -> list[float]:
    """The lab's graders."""
    graded = zip(grader, prompts, answer, completions, strict=True)
    return [GRADERS[name](prompt, gold, said).reward for name, prompt, gold, said in graded]


class HeldOut(TrainerCallback):
    """Samples one completion for each held-out task every `every` steps, with a generator of its own."""

    def __init__(self, table: dict[str, list[str]], every: int, tokenizer: Any, max_tokens: int) -> None:
        self.table, self.every, self.tokenizer = table, every, tokenizer
        self.sampling = {"do_sample": True, "max_new_tokens": max_tokens}
        self.points: list[dict[str, float]] = []
        self.etr: list[float] = []
        self.lengths: list[float] = []
        self.evaluating, self.started = 0.0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.started = time.process_time()
        if state.global_step:
            for name, value in json.loads(self._file(args, state).read_text()).items():
                setattr(self, name, value)
            self.started -= self.points[-1]["seconds"] + self.evaluating
        else:
            self.measure(model, state)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        kept = {name: getattr(self, name) for name in ("points", "etr", "lengths", "evaluating")}
        self._file(args, state).write_text(json.dumps(kept))

    def _file(self, args: Any, state: Any) -> Path:
        return Path(args.output_dir) / f"checkpoint-{state.global_step}" / "curve.json"

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step % self.every == 0:
            self.measure(model, state)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "frac_reward_zero_std" in (logs or {}):
            self.etr.append(1 - float(logs["frac_reward_zero_std"]))
            self.lengths.append(float(logs["completions/mean_length"]))

    @torch.no_grad()
    def measure(self, model: Any, state: Any) -> None:
        """One point of the learning curve."""
        before = time.process_time()
        training = model.training
        model.eval()
        rewards: list[float] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(123)
            for first in range(0, len(self.table["prompt"]), 300):
                part = {name: values[first : first + 300] for name, values in self.table.items()}
                asked = self.tokenizer(part["prompt"], return_tensors="pt", padding=True, padding_side="left")
                ids, mask = asked["input_ids"], asked["attention_mask"]
                said = model.generate(input_ids=ids, attention_mask=mask, **self.sampling)
                texts = self.tokenizer.batch_decode(said[:, ids.shape[1] :], skip_special_tokens=True)
                rewards += right(part["prompt"], texts, part["answer"], part["grader"])
        model.train(training)
        self.evaluating += time.process_time() - before
        seconds = time.process_time() - self.started - self.evaluating
        point = {"step": state.global_step, "seconds": max(seconds, 0.0), "score": float(np.mean(rewards))}
        self.points.append(point)
        print(json.dumps(point), flush=True)

    def curve(self, completions: int) -> list[dict[str, float]]:
        """The points, each with the tokens generated until then, of `completions` in each step.

        A step's lengths are logged after its point is taken.
        """
        tokens = np.concatenate([[0.0], np.cumsum(self.lengths) * completions])
        return [point | {"tokens": float(tokens[int(point["step"])])} for point in self.points]


def train(arm: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run; its learning curve and effective task ratio."""
    torch.manual_seed(seed)
    dataset = datasets.Dataset(lab_table(4000, seed=7, anchors=True))
    held_out = (
        lab_table(arguments.held_out, seed=999, split="eval")
        .select(["prompt", "answer", "grader"])
        .to_pydict()
    )
    model, tokenizer = load(checkpoint_path("base"))
    callback = HeldOut(held_out, arguments.every, tokenizer, 64)
    args = GRPOConfig(
        output_dir=str(arguments.out.with_suffix("") / f"{arm}-{seed}"),
        per_device_train_batch_size=arguments.tasks * arguments.samples,
        num_generations=arguments.samples,
        max_completion_length=64,
        max_steps=arguments.steps,
        learning_rate=1e-4,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=10,
        loss_type="dapo",
        beta=0.0,
        logging_steps=1,
        save_strategy="steps",
        save_steps=arguments.every,
        save_total_limit=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        seed=seed,
    )
    parts: dict[str, Any] = dict(
        model=model,
        reward_funcs=right,
        args=args,
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=[callback],
    )
    if arm == "bots":
        pool = TaskPool.from_dataset(dataset, weak="weak", strong="strong")
        # With the uniform prior, as docs/adapters.md has it.
        bots = BOTS(pool, rollouts=arguments.samples, seed=seed, prior=(1.0, 1.0))
        trainer = BOTSGRPOTrainer(bots=bots, **parts)
    else:
        trainer = GRPOTrainer(**parts)
    trainer.train(resume_from_checkpoint=_newest(Path(args.output_dir)))
    return {
        "arm": arm,
        "seed": seed,
        "steps": arguments.steps,
        "points": callback.curve(arguments.tasks * arguments.samples),
        "etr": callback.etr,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=10, help="steps between two evaluations")
    parser.add_argument("--tasks", type=int, default=32)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--held-out", type=int, default=1200, help="held-out tasks")
    parser.add_argument("--out", type=Path, default=Path("runs/trl_selection.jsonl"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    done = (
        [json.loads(line) for line in arguments.out.read_text().splitlines()]
        if arguments.out.is_file()
        else []
    )
    for seed in range(arguments.seeds):
        # Which arm comes first alternates, so that a machine that slows down favours neither.
        for arm in ARMS if seed % 2 == 0 else ARMS[::-1]:
            if not any(
                (run["arm"], run["seed"], run["steps"]) == (arm, seed, arguments.steps) for run in done
            ):
                done.append(train(arm, seed, arguments))
                with open(arguments.out, "a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
    show([run for run in done if run["steps"] == arguments.steps], arguments.seeds)


def show(runs: list[dict[str, Any]], seeds: int) -> None:
    """The table, in Markdown, of the seeds for which both arms are there."""
    print(
        "| seed | arm | best | last | effective tasks | tokens | steps, tokens, CPU s to TRL's best, over TRL's |"
    )
    print("|---|---|---|---|---|---|---|")
    pairs: list[list[float]] = []
    for seed in range(seeds):
        pair = {run["arm"]: run for run in runs if run["seed"] == seed}
        if len(pair) < len(ARMS):
            continue
        ratios = []
        for unit in ("step", "tokens", "seconds"):
            curves = {arm: _curve(run, unit) for arm, run in pair.items()}
            ratios.append(time_to_best(curves["bots"], curves["random"]))
        for arm, run in pair.items():
            scores = [point["score"] for point in run["points"]]
            cells = [f"{max(scores):.3f}", f"{scores[-1]:.3f}", f"{np.mean(run['etr']):.2f}"]
            cells += [f"{run['points'][-1]['tokens']:,.0f}"]
            cells += ["1, 1, 1" if arm == "random" else ", ".join(f"{ratio:.2f}" for ratio in ratios)]
            print(f"| {seed} | {arm} | {' | '.join(cells)} |")
        ours, theirs = pair["bots"], pair["random"]
        best, last = (
            end([p["score"] for p in ours["points"]]) - end([p["score"] for p in theirs["points"]])
            for end in (max, lambda scores: scores[-1])
        )
        etr = float(np.mean(ours["etr"]) - np.mean(theirs["etr"]))
        pairs.append(
            [
                best,
                last,
                etr,
                *np.log([ours["points"][-1]["tokens"] / theirs["points"][-1]["tokens"], *ratios]),
            ]
        )
    if len(pairs) > 1:
        _show_intervals(np.array(pairs))


def _show_intervals(pairs: np.ndarray) -> None:
    """Mean over the pairs with Student's 95 % interval: of differences, and of ratios by their logarithms.

    pairs: (S, 7): differences of best score, last score and effective tasks; logarithms of the ratios of tokens
    generated, and of steps, tokens and CPU seconds to TRL's best. A seed that never gets there gives an infinite ratio.
    """
    names = ("best score", "last score", "effective tasks", "tokens generated", "steps", "tokens", "CPU s")
    for at, name in enumerate(names):
        found = mean_interval(pairs[:, at])
        mean, low, high = found.mean, found.low, found.high
        if at < 3:
            print(f"{name}: {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        else:
            to = "" if at == 3 else " to TRL's best"
            print(f"{name}{to}: {np.exp(mean):.2f} [{np.exp(low):.2f}, {np.exp(high):.2f}] of TRL's")


def _newest(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end: the curve is written last."""
    whole = [file.parent for file in folder.glob("checkpoint-*/curve.json")]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


def _curve(run: dict[str, Any], unit: str) -> Curve:
    points = run["points"]
    return Curve(np.array([point[unit] for point in points]), np.array([point["score"] for point in points]))


if __name__ == "__main__":
    main()
