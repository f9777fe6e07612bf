"""Seconds from `bots train` to its first step, from its last step to the end, and the CPU seconds until the first.

    python -m benchmarks.first_step [--rounds 3] [section.key=value …]

Trains the lab (configs/lab.yaml, 3 steps) with the fork server that starts the workers of a local Ray
(`actors/fork_server.py`) and without it (`BOTS_FORK_SERVER=0`), in turn. The CPU seconds are those of all processes of
the run. One run beforehand reads the packages from disk.
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
from dataclasses import dataclass
from pathlib import Path

import psutil

from actors.fork_server import ADDRESS
from benchmarks.step_profile import cpu as cpu_seconds

LAB = Path(__file__).parents[1] / "configs" / "lab.yaml"
STEPS = 3


@dataclass(frozen=True)
class Times:
    """Of one run: seconds to its first step, from its last step to the end, and CPU seconds until the first step."""

    first: float
    end: float
    cpu: float


def measured(forked: bool, overrides: list[str]) -> Times:
    """One run of the lab, as a user starts it."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""} | ({} if forked else {ADDRESS: "0"})
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(str(Path(sys.executable).with_name("bots")), "train", str(LAB)),
            *(f"run.folder={folder}", f"run.steps={STEPS}", *overrides),
        ]
        started = time.monotonic()
        run = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        used: dict[int, float] = {}
        first = last = cpu = 0.0
        while run.poll() is None:
            step = reached(Path(folder))
            now = time.monotonic()
            if not first:
                living = {each.pid: each for each in [run, *run.children(recursive=True)]}
                used |= {pid: seconds for pid, (_, seconds) in cpu_seconds(living).items()}
            if step >= 1 and not first:
                first, cpu = now, sum(used.values())
            if step >= STEPS and not last:
                last = now
            time.sleep(0.05)
        if run.returncode or not last:
            raise RuntimeError(f"the run failed with exit status {run.returncode}: {' '.join(command)}")
        return Times(first - started, time.monotonic() - last, cpu)


def reached(folder: Path) -> int:
    """The last step in the run's metrics; -1 before the first line."""
    for file in folder.glob("*/metrics.jsonl"):
        lines = file.read_bytes().split(b"\n")
        return int(json.loads(lines[-2])["step"]) if len(lines) > 1 else -1
    return -1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = parser.parse_intermixed_args()
    measured(True, options.overrides)
    runs: dict[bool, list[Times]] = {True: [], False: []}
    print(f"{'':12}{'first step, s':>15}{'its CPU s':>12}{'end, s':>10}")
    for number in range(options.rounds):
        for forked in (True, False) if number % 2 else (False, True):
            times = measured(forked, options.overrides)
            runs[forked].append(times)
            name = "forked" if forked else "new"
            print(f"{name:12}{times.first:>15.1f}{times.cpu:>12.1f}{times.end:>10.1f}", flush=True)
    ratios = [a.first / b.first for a, b in zip(runs[True], runs[False], strict=True)]
    cpu = [a.cpu / b.cpu for a, b in zip(runs[True], runs[False], strict=True)]
    for name, each in (("first step", ratios), ("its CPU time", cpu)):
        print(f"{name}, forked over new: {statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})")


if __name__ == "__main__":
    main()
