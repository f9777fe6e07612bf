"""The study: paired, multi-seed runs of the train job, resumable, and the page of what they show.

`bots study configs/study.yaml` runs what is missing, one run after the other, and writes the page after each. Start it
again beside itself, here or on machines that share the results' folder, and they divide the runs among them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from bots.config.tree import dump_config
from pipelines.shared.command import run_job
from pipelines.studies.config import ALL, Key, Only, StudyConfig, load_study
from pipelines.studies.page import write_page
from pipelines.studies.results import StudyResults
from pipelines.train import train


def run_study(
    study: StudyConfig,
    console: Console,
    page: Path,
    name: str,
    minutes: float | None,
    timed: bool = True,
    only: Only = ALL,
    retime: bool = False,
) -> None:
    """Run what has no result yet and no other process is running, in order.

    only: the share of the study that is run; the page has the whole.
    minutes: no new run is started after so long. timed: False keeps no seconds, for a machine that does other work at
    the same time. retime: what was not timed here in this sitting counts as missing; made again, it adds its seconds
    to those of earlier sittings. A run whose configuration is no longer the study's is made anew.
    Each finished run is on disk before the next begins; an interrupted one begins again the next time.
    """
    started = time.monotonic()
    console.print(f"{len(missing_runs(study, only, retime))} runs to go", highlight=False)
    for key in study.plan(only):
        if minutes is not None and time.monotonic() - started > 60 * minutes:
            return
        with _claimed(study, key, retime) as ours:
            if not ours:
                continue
            pool, arm, seed = key
            console.rule(f"{pool}, {arm}, seed {seed}")
            _run(study, key, console, timed)
        with FileLock(study.results / "page.lock"):
            write_page(study, name, page)
        console.print(f"{len(missing_runs(study, only, retime))} runs to go", highlight=False)


def missing_runs(study: StudyConfig, only: Only = ALL, retime: bool = False) -> list[Key]:
    """What has no result with the study's present configuration, in the order of the plan."""
    results = StudyResults(study.results)
    return [key for key in study.plan(only) if _is_missing(study, results, key, retime)]


def _is_missing(study: StudyConfig, results: StudyResults, key: Key, retime: bool) -> bool:
    return not results.has(study, key) or (retime and not results.timed(key, (_machine(), _sitting())))


@contextmanager
def _claimed(study: StudyConfig, key: Key, retime: bool = False) -> Iterator[bool]:
    """Whether the run is this process's to make. The claim of a process that dies falls with it."""
    study.results.mkdir(parents=True, exist_ok=True)
    claim = FileLock(study.results / f"{study.run(key).run.name}.lock", blocking=False)
    try:
        claim.acquire()
    except Timeout:
        yield False
        return
    try:
        # Looked up under the claim: another process may have finished the run a moment ago.
        yield _is_missing(study, StudyResults(study.results), key, retime)
    finally:
        Path(claim.lock_file).unlink(missing_ok=True)
        claim.release()


def _run(study: StudyConfig, key: Key, console: Console, timed: bool) -> None:
    config = study.run(key)
    folder = config.run.path
    began = time.time()
    train(config, overwrite=folder.exists(), console=console)
    about = {
        "fingerprint": study.fingerprint(key),
        "commit": _commit(),
        "machine": _machine(),
        "sitting": _sitting(),
        "config": dump_config(config),
        "wall_seconds": time.time() - began if timed else None,
    }
    StudyResults.add(study.results, key, folder, about, timed)
    # What the study needs of it is in the results now.
    shutil.rmtree(folder)


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    return f"{cores} CPU core{'s' * (cores > 1)} ({platform.machine()})"


def _sitting() -> str:
    """The same for all runs on this machine until it is started anew; says nothing else of it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    return hashlib.sha256(boot).hexdigest()[:10]


def _commit() -> str:
    """The commit that ran, marked where the code differed from it; "unknown" outside a clone."""
    root = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--", "bots", "actors", "pipelines", "configs", "requirements")
    return (commit + ("+changes" if changed else "")) if commit else "unknown"


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots study", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a YAML file, see configs/study.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="laid over the file")
    parser.add_argument("--page", type=Path, default=Path("docs/study.md"), help="where the tables go")
    parser.add_argument("--part", action="append", default=[], help="run this part alone; may be repeated")
    parser.add_argument("--arm", action="append", default=[], help="run this arm alone; may be repeated")
    parser.add_argument("--minutes", type=float, help="start no new run after so long")
    seconds = parser.add_mutually_exclusive_group()
    seconds.add_argument(
        "--untimed", action="store_true", help="keep no seconds: the machine does other work meanwhile"
    )
    seconds.add_argument(
        "--retime",
        action="store_true",
        help="run also what was not timed on this machine since its start: seconds are compared only between such",
    )
    parser.add_argument("--page-only", action="store_true", help="make the page from what is there")
    options = parser.parse_intermixed_args(arguments)

    def job(console: Console) -> None:
        study = load_study(options.config, options.overrides)
        only = Only(tuple(options.part), tuple(options.arm))
        study.check(only)
        if not options.page_only:
            run_study(
                study,
                console,
                options.page,
                options.config,
                options.minutes,
                not options.untimed,
                only,
                options.retime,
            )
        write_page(study, options.config, options.page)
        left = len(missing_runs(study))
        console.print(f"{left} runs are left; see {options.page}", highlight=False, soft_wrap=True)

    return run_job("study", job)


if __name__ == "__main__":
    sys.exit(main())
