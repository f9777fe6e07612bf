"""Show a run's metrics in the terminal until it ends: `bots watch RUN`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from pipelines.report.run import Run, read_run
from pipelines.report.terminal import view
from pipelines.shared.command import run_job

EVERY = 2.0
"""Seconds between two reads of the run's folder."""


def watch(folder: Path, console: Console, *, once: bool = False, every: float = EVERY) -> None:
    """Show the run in `folder` until it ends; only once if it has ended or `once` is set.

    If the output is not a terminal, print a view at each evaluation and at the end.
    Raises ReportError if the folder is not a run's.
    """
    run = read_run(folder)
    if once or run.state != "still going":
        console.print(view(run, console.width))
    elif console.is_terminal:
        _live(folder, console, every)
    else:
        _lines(folder, console, every)


def _live(folder: Path, console: Console, every: float) -> None:
    # On the alternate screen: a view taller than the terminal cannot be redrawn in place.
    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        while (run := read_run(folder)).state == "still going":
            live.update(view(run, console.width), refresh=True)
            time.sleep(every)
    console.print(view(run, console.width))


def _lines(folder: Path, console: Console, every: float) -> None:
    shown = -1
    while True:
        run = read_run(folder)
        evaluations = _evaluations(run)
        if evaluations > shown or run.state != "still going":
            shown = evaluations
            console.print(view(run, console.width))
        if run.state != "still going":
            return
        time.sleep(every)


def _evaluations(run: Run) -> int:
    return len(run.series("score")[0])


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots watch", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder, for example runs/lab")
    parser.add_argument("--once", action="store_true", help="print the current metrics and exit")
    options = parser.parse_intermixed_args(arguments)
    return run_job("watch", lambda console: watch(options.run, console, once=options.once))


if __name__ == "__main__":
    sys.exit(main())
