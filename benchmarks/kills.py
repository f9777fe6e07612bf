"""Kill the processes of real runs again and again, and compare the metrics with those of an undisturbed run.

    python -m benchmarks.kills --kills 100 --folder runs/kills [--seed 0]

Each round is one lab run with real engines and a real learner, in which about ten processes are killed, one after the
other: an engine, the grader, the posterior, the journal, the weight broker, the coordinator, a learner rank, Ray's
raylet or the driver (the last two end the run, which is then resumed). Four rounds kill each of them once at each
moment: while the run starts, while weights are sent, while a checkpoint is written, while an evaluation runs, and at
any time. Most of these moments are short, so a process that the phase needs is stopped first (SIGSTOP) and continued
after the kill: the broker holds up a sync, the journal a checkpoint, the grader an evaluation.

A round survives if its run ends by itself or after `--resume`, its ledger is even, and its metrics, all but the times,
equal the undisturbed run's. No kill of another round counts as survived. Rounds are appended to `rounds.jsonl`; the
command continues where it stopped, and prints the table at the end and when it is interrupted.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bots.rollouts.ledger import LedgerError, audit
from bots.support.event_log import EventLog
from pipelines.shared.summary import read_metrics

LAB = Path(__file__).parents[1] / "configs" / "lab.yaml"
VICTIMS = {
    "engine": "ray::RolloutActor",
    "grader": "ray::Grader",
    "posterior": "ray::PosteriorActor",
    "journal": "ray::Journal",
    "broker": "ray::WeightBroker",
    "coordinator": "ray::Coordinator",
    "learner": "ray::RayTrainWorker",
    "raylet": "/raylet/raylet",
    "driver": None,
}
"""Victim → what its command line has in it; None: the job's own process."""
ENDS_THE_RUN = ("raylet", "driver")
HELD_BY = {"sync": "broker", "checkpoint": "journal", "evaluation": "grader"}
"""Moment → the process that the phase needs, which is stopped to hold the phase up."""
MOMENTS = ("any", "start", *HELD_BY)
TIMES = ("seconds", "share", "losses", "up", "engine", "queue/", "staleness", "tensorboard", "mismatch")
"""Parts of the names of metrics that depend on time, or count the losses."""
CHECKPOINT_EVERY, EVALUATE_EVERY = 3, 4
DUE = {"checkpoint": CHECKPOINT_EVERY, "evaluation": EVALUATE_EVERY}
LIMIT_S = 900.0
"""Longest time of one life of a run, and longest wait for a moment."""


def command(folder: Path, name: str, steps: int, *more: str) -> list[str]:
    """The run's command line. Strictly on-policy and seeded, so that its metrics depend on nothing else."""
    settings = [
        f"run.folder={folder}", f"run.name={name}", f"run.steps={steps}", "run.export=false",
        f"run.checkpoint_every={CHECKPOINT_EVERY}", f"evaluation.every={EVALUATE_EVERY}", "evaluation.samples=1",
        "pool.sources.0.size=400", "evaluation.pool.sources.0.size=20", "selection.tasks=8",
        "rollout.samples=4", "rollout.engines=1", "rollout.timeout_s=240", "learner.ranks=1", "learner.lr=1e-4",
        "learner.max_failures=100",
    ]  # fmt: skip
    return [sys.executable, "-m", "pipelines.train", str(LAB), *settings, *more]


def plan_of(number: int, seed: int) -> list[tuple[str, str]]:
    """The kills of a round, (victim, moment), in order. Rounds 4k to 4k + 3 have every pair once.

    The first is a kill at the start. The others of that kind follow a victim that ends the run: it then starts again.
    """
    chance, victims = random.Random(f"{seed}/{number}"), list(VICTIMS)
    later = [moment for moment in MOMENTS if moment != "start"]
    rest = [(victim, later[(at + number) % len(later)]) for at, victim in enumerate(victims)]
    starts = [(victim, "start") for victim in victims[number % len(later) :: len(later)]]
    for group in (rest, starts):
        chance.shuffle(group)
    plan = [starts.pop()]
    for pair in rest:
        plan.append(pair)
        if pair[0] in ENDS_THE_RUN and starts:
            plan.append(starts.pop())
    return plan


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


def start(folder: Path, name: str, steps: int, *more: str) -> subprocess.Popen[bytes]:
    """Start the run, with its output in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command(folder, name, steps, *more), stdout=log, stderr=log)


def end(run: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a run: its own processes alone."""
    kill_all(descendants(run))
    run.kill()
    run.wait()


def kill_all(processes: list[psutil.Process]) -> None:
    """Kill them; each may be gone by then."""
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue


def descendants(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes that a run started, and theirs."""
    try:
        return psutil.Process(run.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for_end(run: subprocess.Popen[bytes]) -> int:
    """The exit status of a run; ended if it takes too long."""
    try:
        return run.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        end(run)
        return -1


@dataclass
class Round:
    """A run whose processes are killed. chance: draws the moments."""

    folder: Path
    name: str
    steps: int
    chance: random.Random

    def __post_init__(self) -> None:
        self.run = start(self.folder, self.name, self.steps, "--overwrite")
        self.path = self.folder / self.name
        self.left: list[psutil.Process] = []

    def until(self, met: Callable[[], bool]) -> bool:
        """Whether a condition is met before the run ends, or the limit."""
        ends = time.monotonic() + LIMIT_S
        while not (found := met()) and self.run.poll() is None and time.monotonic() < ends:
            time.sleep(0.02)
        return found and self.run.poll() is None

    def pause(self, least: float, most: float) -> None:
        time.sleep(self.chance.uniform(least, most))

    def process(self, name: str) -> psutil.Process | None:
        """A process of the run by its name in VICTIMS; None while there is none."""
        part = VICTIMS[name]
        if part is None:
            return psutil.Process(self.run.pid)
        for process in descendants(self.run):
            try:
                if part in " ".join(process.cmdline()):
                    return process
            except psutil.Error:
                continue
        return None

    def kill(self, victim: str, moment: str) -> dict[str, Any]:
        """Kill a process at a moment, and resume the run if that ends it. Returns what was done."""
        held = self._reach(victim, moment)
        found = self.process(victim) if self.run.poll() is None else None
        done = {
            "victim": victim,
            "moment": moment,
            "after_step": last_step(self.path),
            "killed": found is not None,
        }
        family = descendants(self.run)
        if found is not None:
            found.kill()
        if held is not None:
            self.pause(0.0, 0.3)
            with suppress(psutil.NoSuchProcess):  # it may have been the victim
                held.send_signal(signal.SIGCONT)
        if found is not None and victim in ENDS_THE_RUN:
            done["status"] = wait_for_end(self.run)
            _, alive = psutil.wait_procs(family, timeout=60)
            done["left_after_60_s"] = sorted(Counter(_names(alive)).items())
            kill_all(alive)
            # Killed before it had a folder, it is started again.
            flag = "--resume" if (self.path / "config.yaml").exists() else "--overwrite"
            self.run = start(self.folder, self.name, self.steps, flag)
        return done

    def _reach(self, victim: str, moment: str) -> psutil.Process | None:
        """Return at the moment, with the process that was stopped to hold it up; or when the run ended before."""
        if moment == "start":
            if VICTIMS[victim] is None:
                self.pause(2, 25)
            else:
                self.until(lambda: self.process(victim) is not None)
                self.pause(0, 5)
            return None
        every = DUE.get(moment, 1)
        # Not the step in progress: whether it is before or after the phase isn't known.
        step = (last_step(self.path) + 2 + every - 1) // every * every
        step = max(step, every)
        began = time.time()
        if moment == "any":
            self.until(lambda: last_step(self.path) >= step - 1)
            self.pause(0, 2)
            return None
        # A step's rollouts are written while the learner works: its sync, evaluation and checkpoint follow.
        rollouts = self.path / "rollouts" / f"{step:06d}.parquet"
        if not self.until(lambda: rollouts.exists() and rollouts.stat().st_mtime >= began):
            return None
        held = self.process(HELD_BY[moment])
        if held is not None:
            held.suspend()
        self.pause(0.5, 1.5)
        return held


def _names(processes: list[psutil.Process]) -> list[str]:
    names = []
    for process in processes:
        try:
            names.append(process.name())
        except psutil.Error:
            continue
    return names


def one_round(
    folder: Path, number: int, seed: int, steps: int, expected: list[dict[str, Any]]
) -> dict[str, Any]:
    """One run with its kills; what came of it."""
    began = time.monotonic()
    one = Round(folder, f"round-{number}", steps, random.Random(f"{seed}/{number}/moments"))
    kills = []
    try:
        for victim, moment in plan_of(number, seed):
            kills.append(one.kill(victim, moment))
            print(json.dumps(kills[-1]), flush=True)
            if not kills[-1]["killed"]:
                break
        status = wait_for_end(one.run)
    except KeyboardInterrupt:
        end(one.run)
        raise
    result: dict[str, Any] = {
        "round": number,
        "kills": [kill for kill in kills if kill["killed"]],
        "status": status,
    }
    result["seconds"] = round(time.monotonic() - began, 1)
    try:
        audit(one.path / "ledger.jsonl")
        result["ledger_even"] = True
    except LedgerError as error:
        result |= {"ledger_even": False, "why": str(error)}
    found = metrics_of(one.path) if (one.path / "metrics.jsonl").exists() else []
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
    all_of: Counter[tuple[str, str]] = Counter()
    good: Counter[tuple[str, str]] = Counter()
    for one in rounds:
        pairs = [(kill["victim"], kill["moment"]) for kill in one["kills"]]
        all_of.update(pairs)
        good.update(pairs if one["survived"] else [])
    lines = [f"| victim | {' | '.join(MOMENTS)} |", "|---" * (len(MOMENTS) + 1) + "|"]
    for victim in VICTIMS:
        cells = [f"{good[victim, m]}/{all_of[victim, m]}" if all_of[victim, m] else "" for m in MOMENTS]
        lines.append(f"| {victim} | {' | '.join(cells)} |")
    even, equal = (sum(one[name] for one in rounds) for name in ("ledger_even", "metrics_equal"))
    lines.append(
        f"\n{all_of.total()} kills in {len(rounds)} runs, {good.total()} survived; ledger even in {even} runs, metrics "
        f"equal to the undisturbed run's in {equal}"
    )
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("runs/kills"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=40, help="steps of each run; enough for its kills")
    options = parser.parse_args()
    folder = options.folder.absolute()
    calm = folder / "undisturbed"
    if not (calm / "summary.json").exists():
        status = wait_for_end(start(folder, "undisturbed", options.steps, "--overwrite"))
        if status:
            sys.exit(f"the undisturbed run failed; see {folder / 'undisturbed.log'}")
    expected = metrics_of(calm)
    log = EventLog(folder / "rounds.jsonl")
    rounds = list(log.replay())
    try:
        while sum(len(one["kills"]) for one in rounds) < options.kills:
            result = one_round(
                folder,
                1 + max((one["round"] for one in rounds), default=-1),
                options.seed,
                options.steps,
                expected,
            )
            log.append(result, sync=True)
            rounds.append(result)
            print(json.dumps({name: value for name, value in result.items() if name != "kills"}), flush=True)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
    print(table(rounds))


if __name__ == "__main__":
    main()
