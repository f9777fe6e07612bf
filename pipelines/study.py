"""The study: paired, multi-seed runs of the train job, resumable, and the page of what they show.

`bots study configs/study.yaml` runs what is missing, one run after the other, and writes the page after each.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from bots.config import dump_config
from pipelines.command import run_job
from pipelines.study_config import Key, StudyConfig, fingerprint, load_study
from pipelines.study_page import write_page
from pipelines.study_results import StudyResults
from pipelines.train import train


def run_study(study: StudyConfig, console: Console, page: Path, name: str, minutes: float | None) -> None:
    """Run what has no result yet, in order.

    minutes: no new run is started after so long. A run whose configuration is no longer the study's is made anew.
    Each finished run is on disk before the next begins; an interrupted one begins again the next time.
    """
    results, started = StudyResults(study.results), time.monotonic()
    missing = missing_runs(study, results)
    console.print(f"{len(missing)} runs to go", highlight=False)
    for number, key in enumerate(missing):
        if minutes is not None and time.monotonic() - started > 60 * minutes:
            return
        pool, arm, seed = key
        console.rule(f"{number + 1} of {len(missing)}: {pool}, {arm}, seed {seed}")
        _run(study, key, results, console)
        write_page(study, name, page)


def missing_runs(study: StudyConfig, results: StudyResults) -> list[Key]:
    """What has no result with the study's present configuration, in the order of the plan."""
    return [key for key in study.plan() if results.fingerprint(key) != fingerprint(study.run(key))]


def _run(study: StudyConfig, key: Key, results: StudyResults, console: Console) -> None:
    config = study.run(key)
    folder = config.run.path
    began = time.time()
    train(config, overwrite=folder.exists(), console=console)
    about = {
        "fingerprint": fingerprint(config),
        "commit": _commit(),
        "machine": f"{len(os.sched_getaffinity(0))} CPU cores ({platform.machine()})",
        "config": dump_config(config),
        "wall_seconds": time.time() - began,
    }
    results.add(key, folder, about)
    # What the study needs of it is in the results now.
    shutil.rmtree(folder)


def _commit() -> str:
    """The commit that ran, marked where the tree differed from it; "unknown" outside a clone."""
    here = Path(__file__).parent
    said = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return said.stdout.strip() or "unknown"


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots study", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a YAML file, see configs/study.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="laid over the file")
    parser.add_argument("--page", type=Path, default=Path("docs/study.md"), help="where the tables go")
    parser.add_argument("--minutes", type=float, help="start no new run after so long")
    parser.add_argument("--page-only", action="store_true", help="make the page from what is there")
    options = parser.parse_intermixed_args(arguments)

    def job(console: Console) -> None:
        study = load_study(options.config, options.overrides)
        if not options.page_only:
            run_study(study, console, options.page, options.config, options.minutes)
        write_page(study, options.config, options.page)
        left = len(missing_runs(study, StudyResults(study.results)))
        console.print(f"{left} runs are left; see {options.page}", highlight=False, soft_wrap=True)

    return run_job("study", job)


if __name__ == "__main__":
    sys.exit(main())
