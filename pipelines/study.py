"""The study: paired runs of the train job over many seeds, and a page with their results. Resumable.

`bots study configs/study.yaml` runs what is missing, one run at a time. The page follows, as often as that takes little
of the time, and when it ends. Several processes, also on machines that share the results' folder, divide the runs among
them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console

from bots.config.tree import dump_config
from bots.support.files import replace_text
from pipelines.shared.command import run_job
from pipelines.shared.job_folder import check_writable
from pipelines.studies.config import ALL, Key, Only, StudyConfig, load_study
from pipelines.studies.page import write_page
from pipelines.studies.results import StudyResults
from pipelines.train import train

PAGE_SHARE = 0.03
"""Share of the time, at most, in which the page is written between runs: with many runs, writing it takes as long as
a tenth of one."""


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
    """Run, in order, everything that has no result yet and is not running in another process.

    only: the part of the study to run; the page always shows all of it.
    minutes: start no new run after this long. timed: False records no seconds, for a machine that does other work at
    the same time. retime: runs that were not timed on this machine in this sitting count as missing; repeating one adds
    its seconds to those of earlier sittings. A run whose configuration differs from the study's is repeated.
    Each finished run is on disk before the next one starts; an interrupted run starts over next time.
    """
    started = page_due = time.monotonic()
    for folder, setting in ((study.results, "results"), (study.folder, "folder"), (page.parent, "--page")):
        check_writable(folder, setting)
    console.print(_left(missing_runs(study, only, retime)), highlight=False)
    for key in study.plan(only):
        if minutes is not None and time.monotonic() - started > 60 * minutes:
            return
        with _run_lock(study, key, retime) as ours:
            if not ours:
                continue
            pool, arm, seed = key
            console.rule(f"{pool}, {arm}, seed {seed}")
            _run(study, key, console, timed)
        if (began := time.monotonic()) >= page_due:
            with FileLock(study.results / "page.lock"):
                write_page(study, name, page)
            page_due = time.monotonic() + (time.monotonic() - began) / PAGE_SHARE
        console.print(_left(missing_runs(study, only, retime)), highlight=False)


def _left(missing: list[Key]) -> str:
    return f"{len(missing)} run{'s' * (len(missing) != 1)} left"


def missing_runs(study: StudyConfig, only: Only = ALL, retime: bool = False) -> list[Key]:
    """Runs without a result for the study's current configuration, in the order of the plan."""
    results = StudyResults(study.results)
    return [key for key in study.plan(only) if _is_missing(study, results, key, retime)]


def _is_missing(study: StudyConfig, results: StudyResults, key: Key, retime: bool) -> bool:
    return not results.has(study, key) or (retime and not results.timed(key, (_machine(), _sitting())))


@contextmanager
def _run_lock(study: StudyConfig, key: Key, retime: bool = False) -> Iterator[bool]:
    """Lock a run; yields whether this process should make it. The lock of a dead process is released."""
    study.results.mkdir(parents=True, exist_ok=True)
    lock = FileLock(study.results / f"{study.run(key).run.name}.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        # Checked under the lock: another process may have just finished the run.
        yield _is_missing(study, StudyResults(study.results), key, retime)
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _run(study: StudyConfig, key: Key, console: Console, timed: bool) -> None:
    config = study.run(key)
    folder = config.run.path
    note = study.results / f"{config.run.name}.json"
    about = _finished_before(note, folder, study.fingerprint(key))
    if about is None:
        about = {
            "fingerprint": study.fingerprint(key),
            "commit": _commit(),
            "machine": _machine(),
            "sitting": _sitting(),
            "config": dump_config(config),
            "wall_seconds": None,
        }
        replace_text(note, json.dumps({**about, "timed": timed}) + "\n")
        began = time.time()
        train(config, overwrite=folder.exists(), console=console)
        about["wall_seconds"] = time.time() - began if timed else None
    else:
        console.print("this run has finished before; only its results were missing", highlight=False)
        timed = about.pop("timed")
    StudyResults.add(study.results, key, folder, about, timed)
    # The results have everything the study needs.
    shutil.rmtree(folder)
    note.unlink(missing_ok=True)


def _finished_before(note: Path, folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """What is known of a run that finished, but whose results could not be stored, as on a full disk; None without one.

    note: file with the facts known at the run's start: the columns of the results, and whether it was timed.
    """
    try:
        about, summary = (json.loads(path.read_bytes()) for path in (note, folder / "summary.json"))
        if summary["status"] != "finished" or about["fingerprint"] != fingerprint:
            return None
        about["wall_seconds"] = float(summary["wall_seconds"]) if about["timed"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None  # none, or a damaged one: the run starts over
    return dict(about)


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    return f"{cores} CPU core{'s' * (cores > 1)} ({platform.machine()})"


def _sitting() -> str:
    """An anonymous id of this machine's current boot."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    return hashlib.sha256(boot).hexdigest()[:10]


def _commit() -> str:
    """The current commit, marked if the code differs from it; "unknown" outside a clone."""
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
    parser.add_argument("config", help="a YAML file, for example configs/study.yaml")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="overrides a key of the file"
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="keep results and runs in this folder, not the file's: to repeat a study that has been run",
    )
    parser.add_argument("--page", type=Path, help="the page to write; by default beside the results' folder")
    parser.add_argument("--part", action="append", default=[], help="run only this part; may be repeated")
    parser.add_argument("--arm", action="append", default=[], help="run only this arm; may be repeated")
    parser.add_argument("--minutes", type=float, help="start no new run after this many minutes")
    seconds = parser.add_mutually_exclusive_group()
    seconds.add_argument(
        "--untimed", action="store_true", help="record no seconds, for a machine that does other work"
    )
    seconds.add_argument(
        "--retime",
        action="store_true",
        help="repeat runs not timed since this machine booted: seconds are compared only within a boot",
    )
    parser.add_argument("--page-only", action="store_true", help="write the page from existing results")
    options = parser.parse_intermixed_args(arguments)

    def job(console: Console) -> None:
        study = load_study(options.config, options.overrides, options.results)
        page = options.page or study.results.with_name(f"{study.results.name}.md")
        only = Only(tuple(options.part), tuple(options.arm))
        study.check(only)
        if not options.page_only:
            run_study(
                study,
                console,
                page,
                options.config,
                options.minutes,
                not options.untimed,
                only,
                options.retime,
            )
        write_page(study, options.config, page)
        console.print(f"{_left(missing_runs(study))}; see {page}", highlight=False, soft_wrap=True)

    return run_job("study", job)


if __name__ == "__main__":
    sys.exit(main())
