"""Kill a real run again and again, at random moments, and compare its metrics with those of an undisturbed one.

    python -m benchmarks.kills --kills 100 --folder runs/kills [--seed 0] [--steps 12]

Each round is one lab run with real engines and a real learner, of which one process is killed: an engine, the grader,
the posterior, the journal, the weight broker, the coordinator, a learner rank or the driver (which is then resumed).
The moment is drawn too: at any time, while starting, or as weights are sent, a checkpoint is written or an evaluation
runs. A round survives if the run ends by itself (or by --resume), its ledger is even and its metrics, all but the
times, equal the undisturbed run's. Rounds are appended to `kills.jsonl`; the command goes on where it stopped, and
prints the table at the end and when it is interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from bots.rollouts.ledger import LedgerError, audit
from bots.support.event_log import EventLog
from pipelines.shared.summary import read_metrics

LAB = Path(__file__).parents[1] / "configs" / "lab.yaml"
VICTIMS = {
    "engine": "RolloutActor",
    "grader": "Grader",
    "posterior": "PosteriorActor",
    "journal": "Journal",
    "broker": "WeightBroker",
    "coordinator": "Coordinator",
    "learner": "RayTrainWorker",
    "driver": None,
}
"""Victim → how Ray names its process; None: the job's own."""
MOMENTS = ("any", "start", "sync", "checkpoint", "evaluation")
TIMES = ("seconds", "share", "losses", "up", "engines", "queue/", "staleness", "tensorboard", "mismatch")
"""Parts of the names of metrics that depend on time, or count the losses."""
LIMIT_S = 900.0
"""Longest time of one life of a run."""


def command(folder: Path, name: str, steps: int, *more: str) -> list[str]:
    """The run's command line. Strictly on-policy and seeded, so that its metrics depend on nothing else."""
    settings = [
        f"run.folder={folder}", f"run.name={name}", f"run.steps={steps}", "run.checkpoint_every=3", "run.export=false",
        "pool.sources.0.size=200", "evaluation.pool.sources.0.size=40", "evaluation.every=4", "selection.tasks=8",
        "rollout.samples=4", "rollout.engines=1", "rollout.timeout_s=120", "learner.ranks=1", "learner.lr=1e-4",
        "learner.max_failures=8",
    ]  # fmt: skip
    return [sys.executable, "-m", "pipelines.train", str(LAB), *settings, *more]


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """Every step's metrics that a kill must not change."""
    return [
        {key: value for key, value in record.items() if not any(part in key for part in TIMES)}
        for record in read_metrics(folder)
    ]


def last_step(folder: Path) -> int:
    """The newest step in the metrics; -1 before there are any."""
    try:
        return max((record["step"] for record in read_metrics(folder)), default=-1)
    except FileNotFoundError:
        return -1


def wait_for_moment(
    run: subprocess.Popen[bytes], folder: Path, moment: str, steps: int, chance: random.Random
) -> None:
    """Return at the moment, or when the run ends before."""
    if moment == "start":
        pause = chance.uniform(2, 25)
    else:
        due = {"sync": range(1, steps), "checkpoint": range(3, steps, 3), "evaluation": range(4, steps, 4)}
        # Of the step in which it happens: its line is written after the evaluation and before the commit.
        step = chance.choice(list(due.get(moment, range(steps))))
        while run.poll() is None and last_step(folder) < (step - 1 if moment != "checkpoint" else step):
            time.sleep(0.05)
        pause = {"any": chance.uniform(0, 2), "checkpoint": chance.uniform(0, 0.1)}.get(
            moment, chance.uniform(0, 0.5)
        )
    ends = time.monotonic() + pause
    while run.poll() is None and time.monotonic() < ends:
        time.sleep(0.01)


def victim_of(run: subprocess.Popen[bytes], victim: str) -> int | None:
    """Process id of the victim; None while there is none."""
    title = VICTIMS[victim]
    if title is None:
        return run.pid
    for process in psutil.Process(run.pid).children(recursive=True):
        try:
            if f"ray::{title}" in " ".join(process.cmdline()):
                return int(process.pid)
        except psutil.Error:
            continue
    return None


def end(run: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a run: its own processes alone."""
    try:
        left = psutil.Process(run.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        left = []
    for process in left:
        try:
            process.kill()
        except psutil.Error:
            continue
    run.kill()
    run.wait()


def start(folder: Path, name: str, steps: int, *more: str) -> subprocess.Popen[bytes]:
    """Start the run, with its output in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command(folder, name, steps, *more), stdout=log, stderr=log)


def wait_for_end(run: subprocess.Popen[bytes]) -> int:
    """The exit status of a run; ended if it takes too long."""
    try:
        return run.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        end(run)
        return -1


def one_round(
    folder: Path, number: int, seed: int, steps: int, expected: list[dict[str, Any]]
) -> dict[str, Any]:
    """One run with one kill; what came of it."""
    chance = random.Random(f"{seed}/{number}")
    victim, moment = list(VICTIMS)[number % len(VICTIMS)], MOMENTS[(number // len(VICTIMS)) % len(MOMENTS)]
    name = f"kill-{number}"
    began = time.monotonic()
    run = start(folder, name, steps, "--overwrite")
    wait_for_moment(run, folder / name, moment, steps, chance)
    pid = None
    while run.poll() is None and (pid := victim_of(run, victim)) is None:
        time.sleep(0.1)
    at = last_step(folder / name)
    children = psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []
    if pid is not None and run.poll() is None:
        os.kill(pid, signal.SIGKILL)
    status = wait_for_end(run)
    if victim == "driver":
        _, alive = psutil.wait_procs(children, timeout=90)
        for process in alive:
            process.kill()
        # Killed before it had a folder, it is started again.
        flag = "--resume" if (folder / name / "config.yaml").exists() else "--overwrite"
        status = wait_for_end(start(folder, name, steps, flag))
    result: dict[str, Any] = {"round": number, "victim": victim, "moment": moment, "killed_after_step": at}
    result |= {"killed": pid is not None, "status": status, "seconds": round(time.monotonic() - began, 1)}
    try:
        audit(folder / name / "ledger.jsonl")
        result["ledger_even"] = True
    except LedgerError as error:
        result |= {"ledger_even": False, "why": str(error)}
    found = metrics_of(folder / name) if (folder / name / "metrics.jsonl").exists() else []
    result["metrics_equal"] = found == expected
    if not result["metrics_equal"]:
        result["difference"] = difference(found, expected)
    result["survived"] = bool(status == 0 and result["ledger_even"] and result["metrics_equal"])
    return result


def difference(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> str:
    """The first metric that differs."""
    for one, other in zip(found, expected, strict=False):
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key):
                return f"step {other['step']}: {key} is {one.get(key)!r}, undisturbed {other.get(key)!r}"
    return f"{len(found)} steps, undisturbed {len(expected)}"


def table(rounds: list[dict[str, Any]]) -> str:
    """Kills survived, by victim and moment, in Markdown."""
    done = [one for one in rounds if one["killed"]]
    all_of = Counter((one["victim"], one["moment"]) for one in done)
    good = Counter((one["victim"], one["moment"]) for one in done if one["survived"])
    lines = [f"| victim | {' | '.join(MOMENTS)} |", "|---" * (len(MOMENTS) + 1) + "|"]
    for victim in VICTIMS:
        cells = [f"{good[victim, m]}/{all_of[victim, m]}" if all_of[victim, m] else "" for m in MOMENTS]
        lines.append(f"| {victim} | {' | '.join(cells)} |")
    even = sum(one["ledger_even"] for one in done)
    equal = sum(one["metrics_equal"] for one in done)
    lines.append(
        f"\n{len(done)} kills, {sum(good.values())} survived; ledger even in {even}, metrics equal to the undisturbed "
        f"run's in {equal}"
    )
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("runs/kills"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    folder = options.folder.absolute()
    calm = folder / "undisturbed"
    if not (calm / "summary.json").exists():
        status = wait_for_end(start(folder, "undisturbed", options.steps, "--overwrite"))
        if status:
            sys.exit(f"the undisturbed run failed; see {folder / 'undisturbed.log'}")
    expected = metrics_of(calm)
    log = EventLog(folder / "kills.jsonl")
    rounds = list(log.replay())
    try:
        # A round in which nothing was killed (the run did not start, or was over) is not one of them.
        while sum(one["killed"] for one in rounds) < options.kills:
            result = one_round(folder, len(rounds), options.seed, options.steps, expected)
            log.append(result, sync=True)
            rounds.append(result)
            print(json.dumps(result), flush=True)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
    print(table(rounds))


if __name__ == "__main__":
    main()
