"""Look at a pool before anyone pays for a run: rows, lengths, prompts, reference answers and pass rates."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bots.config.pool import PoolConfig
from bots.config.train import GradingConfig, TrainConfig, load_config
from bots.config.tree import ConfigError, Section, parse_config, read_tree
from bots.graders import judge
from bots.graders.code import CodeOptions, configure, preflight
from bots.graders.workers import Workers
from bots.pool import TaskPool
from bots.sandbox import SandboxUnavailableError
from bots.sources.base import SourceError
from pipelines.pools import page, terminal
from pipelines.pools.survey import Survey, measure, survey
from pipelines.shared.command import run_job
from pipelines.shared.golds import check_golds
from pipelines.shared.job_folder import check_writable
from pipelines.shared.pool import read_reported
from pipelines.shared.preflight import load_config_and_tokenizer

LENIENT = 0.999
"""Share of bad rows that is read over, so that all of them are reported."""


class PoolFault(RuntimeError):
    """A pool with reference answers that fail, or that a run would refuse."""


class _ModelPath(Section):
    path: str


class PoolOnly(Section):
    """A configuration of nothing but a pool, and a model whose tokenizer and template are used."""

    pool: PoolConfig
    model: _ModelPath | None = None
    grading: GradingConfig = GradingConfig()


@dataclass(frozen=True)
class Job:
    """Which pools to look at. longest: most prompt tokens that leave room for a completion; None: no limit known."""

    pools: dict[str, PoolConfig]
    model: str | None
    grading: GradingConfig
    longest: int | None
    page: Path


def load_job(path: str, overrides: list[str], target: Path | None) -> Job:
    """The job of a train configuration, or of one that holds only `pool`, and perhaps `model.path` and `grading`."""
    tree = read_tree(path, overrides)
    if not {"run", "learner", "selection", "rollout"} & tree.keys():
        only = parse_config(PoolOnly, tree, path)
        model = None if only.model is None else only.model.path
        return Job({"pool": only.pool}, model, only.grading, None, target or Path("pool.html"))
    config: TrainConfig = load_config(path, overrides)
    pools = {"pool": config.pool}
    if config.evaluation.pool is not None:
        pools["evaluation.pool"] = config.evaluation.pool
    longest = config.rollout.max_model_len - config.rollout.max_tokens
    where = target or config.run.folder / f"{config.run.name}.pool.html"
    return Job(pools, config.model.path, config.grading, longest, where)


def look(job: Job, console: Console, sample: int | None = None) -> list[Survey]:
    """Survey every pool of the job, grade its reference answers, print and write the page.

    sample: grade at most so many answers of each pool, spread over it; None: all; 0: none.
    Raises SourceError, PoolError or ConfigError for what can't be read at all.
    """
    check_writable(job.page.parent, "--page")
    tokenizer = None if job.model is None else load_config_and_tokenizer(job.model)[2]
    found = []
    for key, config in job.pools.items():
        pool, one = _read(key, config, tokenizer)
        if tokenizer is not None:
            measure(one, pool, tokenizer, config.template, job.longest or sys.maxsize)
        if sample != 0:
            _grade(one, pool, job.grading, console, sample)
        terminal.show(one, console)
        found.append(one)
    page.write(found, job.page)
    console.print(f"page: {job.page}", highlight=False, soft_wrap=True)
    return found


def _read(key: str, config: PoolConfig, tokenizer: Any) -> tuple[TaskPool, Survey]:
    """The pool, read over its bad rows, and its survey, which says whether a run would refuse them."""
    lenient = config.model_copy(
        update={"sources": tuple(one.model_copy(update={"bad_rows": LENIENT}) for one in config.sources)}
    )
    pool, reports = read_reported(lenient, tokenizer)
    pool.require("prompt", "answer", "grader")
    found = survey(key, pool, reports)
    for settings, report in zip(config.sources, reports, strict=True):
        if report.bad > settings.bad_rows * report.rows:
            found.refused.append(
                f"{report.name}: {report.bad:,} of {report.rows:,} rows are bad, and `bad_rows` allows a share of "
                f"{settings.bad_rows:g}"
            )
    return pool, found


def _grade(
    found: Survey, pool: TaskPool, grading: GradingConfig, console: Console, sample: int | None
) -> None:
    rows: Sequence[int] | None = None
    if sample is not None and sample < len(pool):
        rows = [place * len(pool) // sample for place in range(sample)]
    code = CodeOptions(unsafe_code_without_sandbox=grading.unsafe_code_without_sandbox)
    graders = pool.table["grader"].unique().to_pylist()
    configure(code)
    judge.configure(grading.judge_options)
    for names, check in ((("code", "cruxeval"), preflight), (("judge",), judge.preflight)):
        used = [name for name in graders if re.search(rf"\b({'|'.join(names)})\b", name)]
        if not used or (check is preflight and code.unsafe_code_without_sandbox):
            continue
        try:
            check()
        except (SandboxUnavailableError, judge.JudgeUnavailableError) as error:
            found.refused.append(str(error))
            taken = range(len(pool)) if rows is None else rows
            rows = [row for row in taken if pool.table["grader"][row].as_py() not in used]
            graders = [name for name in graders if name not in used]
    with (
        Progress(console=console, transient=True, disable=not console.is_terminal) as shown,
        Workers(
            grading.workers,
            time_limit=grading.timeout_s,
            memory_limit=int(grading.memory_gib * 2**30),
            graders=graders,
            code=code,
            judge_by=grading.judge_options,
        ) as workers,
    ):
        bar = shown.add_task("reference answers", total=len(pool) if rows is None else len(rows))
        found.golds = check_golds(pool, workers, rows, lambda done: shown.update(bar, completed=done))


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots pool", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a train job's YAML file, or one with a pool alone (and model.path)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="laid over the file")
    parser.add_argument(
        "--sample", type=int, help="grade so many reference answers of each pool; 0: none; default: all"
    )
    parser.add_argument(
        "--page", type=Path, help="the HTML page; default: runs/NAME.pool.html, for a pool alone pool.html"
    )
    options = parser.parse_intermixed_args(arguments)

    def job(console: Console) -> None:
        if options.sample is not None and options.sample < 0:
            raise ConfigError(f"--sample is {options.sample}; it must be at least 0")
        found = look(load_job(options.config, options.overrides, options.page), console, options.sample)
        faults = sum(one.faults for one in found)
        refused = [f"{one.key}: {reason}" for one in found for reason in one.refused]
        if faults:
            raise PoolFault(f"{faults:,} reference answers fail; the page lists them")
        if refused:
            raise PoolFault(refused[0])

    return run_job("pool", job, failures=(PoolFault, SourceError))


if __name__ == "__main__":
    sys.exit(main())
