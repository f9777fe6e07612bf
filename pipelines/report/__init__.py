"""Report of one or several runs: `bots report RUN…` writes one self-contained HTML file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from rich.console import Console

from pipelines.shared.command import run_job


def report(folders: Sequence[Path], output: Path) -> None:
    """Write the report of the runs in `folders`.

    Raises ReportError for folders that are not runs, runs that cannot be read or compared, and an unwritable output.
    """
    from pipelines.report.page import render, write
    from pipelines.report.run import ReportError
    from pipelines.report.sections import build
    from pipelines.report.settings import group, read_runs

    if output.is_dir() or not output.parent.is_dir():
        what = "is a folder" if output.is_dir() else f"cannot be written: there is no folder {output.parent}"
        raise ReportError(f"the output {output} {what}; name a file")
    try:
        # Before the page is built, which can take a minute.
        with TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ReportError(
            f"the output {output} cannot be written: {error.strerror}; name another file with --output"
        ) from error
    write(render(build(group(read_runs(folders)))), output)


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots report", description=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, for example runs/lab"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="the file to write; default: report.html in the run's folder, or in the current one for several runs",
    )
    options = parser.parse_intermixed_args(arguments)
    alone = options.runs[0] if len(options.runs) == 1 and options.runs[0].is_dir() else Path()
    output = options.output or alone / "report.html"

    def job(console: Console) -> None:
        report(options.runs, output)
        console.print(f"{output} ({output.stat().st_size / 1e6:.1f} MB)", highlight=False, soft_wrap=True)

    return run_job("report", job)
