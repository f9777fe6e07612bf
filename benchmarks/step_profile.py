"""Where a step's time goes: wall-clock by phase, CPU time by process, and with py-spy by Python code.

    python -m benchmarks.step_profile [--steps 20] [--stacks] [section.key=value …]

Trains the lab (configs/lab.yaml, random selection, no evaluation or checkpoints). Prints, per step after the fourth:
  phases     wall-clock seconds on the learner's rank 0, from `metrics.jsonl` (medians)
  processes  CPU milliseconds of every process of the run; their sum over the number of cores is a lower bound of the
             step's time
  stacks     with --stacks, the same CPU time by Python function. Needs py-spy (`pip install py-spy`), which slows the
             run down by a few percent
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import psutil

from bots.config.train import load_config
from pipelines.shared.summary import read_metrics
from pipelines.train import train

LAB = Path(__file__).parents[1] / "configs" / "lab.yaml"
WARM_UP = 4

SPIED = ("driver", "RolloutActor", "RayTrainWorker", "Coordinator")
"""Whose Python stacks are sampled."""

KINDS = [
    ("vLLM: forward pass", r"_model_forward"),
    ("vLLM: sampling", r"\bsample_tokens \(|_sample \(|sampler\.py"),
    ("vLLM: preparing inputs", r"gpu_model_runner\.py|gpu_worker\.py|cpu_worker\.py"),
    ("vLLM: scheduler", r"core/sched/|kv_cache"),
    ("vLLM: outputs and their log-probabilities", r"output_processor\.py|v1/engine/logprobs\.py"),
    ("vLLM: new requests", r"add_request"),
    (
        "vLLM: new weights",
        r"weight_update|update_weights|finish_weight|reset_prefix_cache|\bload \(actors/engine",
    ),
    ("engine: rollouts from outputs, decoding", r"_rollouts? \(|batch_decode"),
    ("vLLM: the rest", r"vllm/"),
    ("learning", r"actors/learner\.py|deepspeed/"),
    ("batch building", r"learning/batching\.py"),
    ("weight sync", r"actors/weights/"),
    ("grading", r"bots/graders/|bots/sandbox/"),
    ("ledger", r"rollouts/ledger\.py"),
    ("selection and beliefs", r"actors/posterior\.py|bots/belief|bots/selection|bots/core/"),
    ("journal", r"actors/journal\.py|actors/board\.py|parquet"),
    ("collectives between ranks", r"torch/distributed"),
    ("Ray: pickling", r"serialization\.py|cloudpickle"),
    ("coordinator, engine pool", r"actors/"),
    ("Ray: the rest", r"ray/"),
]


def processes() -> dict[int, psutil.Process]:
    """All processes of this run."""
    me = psutil.Process()
    return {p.pid: p for p in [me, *me.children(recursive=True)]}


def cpu(found: dict[int, psutil.Process]) -> dict[int, tuple[str, float]]:
    """Name and CPU seconds of each."""
    out = {}
    for pid, process in found.items():
        try:
            # Ray writes an actor's class into the title.
            title = " ".join(process.cmdline()) or process.name()
            times = process.cpu_times()
        except psutil.Error:
            continue
        out[pid] = named(pid, title), times.user + times.system
    return out


def named(pid: int, title: str) -> str:
    """A short name of a process."""
    if pid == os.getpid():
        return "driver"
    if found := re.match(r"ray::([\w.]+)", title):
        return found[1].removesuffix(".__init__")
    for part in ("gcs_server", "raylet", "plasma", "monitor.py", "log_monitor", "runtime_env", "dashboard"):
        if part in title:
            return part
    return "grading process" if "socket" in title or "-c" in title.split() else Path(title.split()[0]).name


def threads(found: dict[int, psutil.Process]) -> dict[tuple[int, int], tuple[str, float]]:
    """Name and CPU seconds of every thread, by process and thread."""
    out = {}
    tick = os.sysconf("SC_CLK_TCK")
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                before, _, after = (task / "stat").read_text().rpartition(")")
            except OSError:
                continue
            fields = after.split()
            comm = re.sub(r"[\d.:/-]+$", "", before.partition("(")[2])
            out[pid, int(task.name)] = comm, (int(fields[11]) + int(fields[12])) / tick
    return out


class Watch(threading.Thread):
    """Takes the processes' CPU time at two steps, and py-spy's samples between them."""

    def __init__(self, metrics: Path, steps: int, stacks: Path | None) -> None:
        super().__init__(daemon=True)
        self.metrics, self.steps, self.stacks = metrics, steps, stacks
        self.cpu: dict[str, float] = defaultdict(float)
        self.counts: Counter[str] = Counter()
        self.threads: dict[tuple[str, str], float] = defaultdict(float)
        self.of_pid: dict[int, str] = {}
        self.span = 0

    def run(self) -> None:
        first = self._until(WARM_UP)
        found = processes()
        before, threads_before = cpu(found), threads(found)
        spies = self._spies(before) if self.stacks else []
        last = self._until(self.steps)
        after, threads_after = cpu(found), threads(found)
        for spy in spies:
            spy.send_signal(2)
        self.span = last - first
        for pid, (name, seconds) in after.items():
            used = seconds - before[pid][1] if pid in before else 0.0
            self.of_pid[pid] = name
            self.cpu[name] += used
            self.counts[name] += used > 0
        for (pid, tid), (comm, seconds) in threads_after.items():
            if pid in after:
                before_that = threads_before.get((pid, tid), ("", 0.0))[1]
                self.threads[after[pid][0], comm] += seconds - before_that
        for spy in spies:
            spy.wait()

    def _until(self, step: int) -> int:
        while True:
            if self.metrics.exists() and (lines := self.metrics.read_bytes().splitlines()):
                try:
                    reached = int(json.loads(lines[-1])["step"])
                except ValueError:
                    reached = -1
                if reached >= step:
                    return reached
            time.sleep(0.1)

    def _spies(self, known: dict[int, tuple[str, float]]) -> list[subprocess.Popen[bytes]]:
        assert self.stacks is not None
        # One of a kind: py-spy takes time itself.
        wanted = {name: pid for pid, (name, _) in known.items() if name.startswith(SPIED)}.values()
        return [
            subprocess.Popen(
                ["py-spy", "record", "-p", str(pid), "-r", "50", "-f", "raw", "-d", "3600", "--nonblocking",
                 "-o", str(self.stacks / str(pid))],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for pid in wanted
        ]  # fmt: skip


def kind(stack: str) -> str:
    """What was being done."""
    return next((name for name, pattern in KINDS if re.search(pattern, stack)), "other")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--stacks", action="store_true")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        fixed = [
            "selection.selector=random",
            f"run.steps={options.steps}",
            f"run.folder={folder}",
            "run.checkpoint_every=0",
            "evaluation.pool=null",
        ]
        config = load_config(LAB, [*fixed, *options.overrides])
        stacks = Path(folder) / "stacks" if options.stacks else None
        if stacks:
            stacks.mkdir()
        watch = Watch(config.run.path / "metrics.jsonl", options.steps, stacks)
        watch.start()
        train(config)
        watch.join()
        records = [record for record in read_metrics(config.run.path) if record["step"] > WARM_UP]
        show(records, watch, stacks)


def show(records: list[dict[str, float]], watch: Watch, stacks: Path | None) -> None:
    """Print the tables."""
    names = sorted({key for record in records for key in record if key.startswith("seconds")})
    print("\nphase, wall-clock ms (median step)")
    for name in names:
        seconds = statistics.median(record.get(name, 0.0) for record in records)
        print(f"  {name.partition('/')[2] or 'step':<14}{1000 * seconds:>8.0f}")
    print("\nprocesses, CPU ms per step")
    for name, seconds in sorted(watch.cpu.items(), key=lambda item: -item[1]):
        if seconds > 0:
            count = f" x {watch.counts[name]}" if watch.counts[name] > 1 else ""
            print(f"  {name + count:<40}{1000 * seconds / watch.span:>8.1f}")
    print(f"  {'all':<40}{1000 * sum(watch.cpu.values()) / watch.span:>8.1f}  on {os.cpu_count()} cores")
    print("\nthreads, CPU ms per step")
    for (name, comm), seconds in sorted(watch.threads.items(), key=lambda item: -item[1])[:24]:
        print(f"  {name + ': ' + comm:<40}{1000 * seconds / watch.span:>8.1f}")
    if stacks is None:
        return
    for name in sorted(watch.cpu, key=lambda name: -watch.cpu[name]):
        samples: Counter[str] = Counter()
        for pid in (pid for pid, of in watch.of_pid.items() if of == name):
            file = stacks / str(pid)
            for line in file.read_text().splitlines() if file.exists() else []:
                stack, _, count = line.rpartition(" ")
                samples[kind(stack)] += int(count)
        if samples and watch.cpu[name] / watch.span > 0.002:
            print(f"\n{name}, CPU ms per step")
            scale = 1000 * watch.cpu[name] / watch.span / sum(samples.values())
            for what, count in samples.most_common():
                print(f"  {what:<48}{scale * count:>8.1f}")


if __name__ == "__main__":
    main()
