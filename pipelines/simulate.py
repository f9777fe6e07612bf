"""Simulated training: real selectors, evidence and metrics with a simulated learner, in seconds.

`bots simulate CONFIG` compares selectors; `bots simulate --fit RUN …` estimates the learning law from finished train
jobs.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from bots.config.tree import ConfigError, dump_config
from bots.simulation import simulate
from bots.simulation.world import World
from bots.support.files import replace_text
from pipelines.shared.command import run_job
from pipelines.shared.job_folder import check_writable, replacing_folder
from pipelines.shared.lock import folder_lock
from pipelines.shared.selection_check import check_selection
from pipelines.simulations.config import BASELINE, SimulationConfig, load_simulation
from pipelines.simulations.plot import draw
from pipelines.simulations.results import Results, show

MARK = "simulation.yaml"


def check_arms(config: SimulationConfig) -> None:
    """Build every arm's BOTS object on the first seed's tasks: only a plug-in or the pool can judge some settings.

    Raises ConfigError naming the arm.
    """
    pool = World(config.world, config.run.first_seed).pool
    for arm in _arms(config):
        options = config.simulation(config.selection_of(arm)).options
        shared = {"rollouts": config.rollout.samples, "seed": config.run.first_seed}
        check_selection(pool, f"selection of arm {arm!r}", **shared, **options)


def _arms(config: SimulationConfig) -> list[str]:
    return [BASELINE, *(arm for arm in config.arms if arm != BASELINE)]


def run_simulation(config: SimulationConfig, console: Console | None = None) -> Results:
    """Run every arm on every seed. Deterministic: the same configuration gives the same results."""
    traces = {}
    for arm in _arms(config):
        started = time.perf_counter()
        simulation = config.simulation(config.selection_of(arm))
        traces[arm] = [simulate(simulation, seed) for seed in config.seeds]
        if console:
            each = (time.perf_counter() - started) / len(traces[arm])
            console.print(f"{arm}: {len(traces[arm])} runs, {each:.2f} s each", highlight=False)
    return Results(list(config.seeds), traces)


def check_folder(folder: Path, overwrite: bool) -> None:
    """ConfigError if the results' folder exists (without `overwrite`), holds something else or can't be written."""
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise ConfigError(f"{folder} exists and is not a simulation's folder; choose another run.name")
        if not overwrite:
            raise ConfigError(f"{folder} exists; replace it with --overwrite, or choose another run.name")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"folder {folder} cannot be written: it is a file; choose another run.name")
    check_writable(folder.parent, "run.folder")


def simulate_job(config: SimulationConfig, console: Console, overwrite: bool = False) -> Results:
    """Simulate, print the table, and write the configuration, the Parquet tables and the plot."""
    check_arms(config)
    folder = config.run.path
    world, batch = config.world, config.selection.tasks
    title = (
        f"{config.run.name}: simulated, {world.tasks:,} tasks, {batch} x {config.rollout.samples} completions "
        f"per step, {config.run.seeds} seeds"
    )
    with folder_lock(folder, console):
        check_folder(folder, overwrite)
        with replacing_folder(folder) as fresh:
            replace_text(fresh / MARK, dump_config(config))
            results = run_simulation(config, console)
            results.write(fresh)
            draw(results.traces, fresh / "curves.png", title)
    # Wide if there is no terminal: a log would otherwise have truncated cells.
    wide = console if console.is_terminal else Console(file=console.file, width=max(console.width, 170))
    wide.print(show(results.table()))
    for name in ("results.parquet", "curves.parquet", "steps.parquet", "summary.json", "curves.png"):
        console.print(f"  {folder / name}", highlight=False, soft_wrap=True)
    return results


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots simulate", description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", help="a YAML file, for example configs/sim_lab.yaml")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="overrides a key of the file"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the configuration and exit")
    parser.add_argument("--overwrite", action="store_true", help="replace the results' folder")
    parser.add_argument(
        "--fit", nargs="+", type=Path, metavar="RUN", help="estimate the law from these runs of one pool"
    )
    parser.add_argument(
        "--check", nargs="+", type=Path, metavar="RUN", default=[], help="runs to compare but not to fit"
    )
    parser.add_argument("--into", type=Path, default=Path("runs/fit"), help="folder of the fit's results")
    options = parser.parse_intermixed_args(arguments)

    def job(console: Console) -> None:
        if options.fit:
            if options.config:
                raise ConfigError("--fit writes a configuration; it takes runs, not a CONFIG")
            from pipelines.simulations.fit import fit_job

            fit_job(options.fit, options.check, options.into, console, options.overwrite)
            return
        if not options.config:
            raise ConfigError("give a CONFIG such as configs/sim_lab.yaml, or --fit RUN …")
        config = load_simulation(options.config, options.overrides)
        if options.dry_run:
            check_arms(config)
            console.print(dump_config(config), markup=False, highlight=False, end="", soft_wrap=True)
            return
        simulate_job(config, console, options.overwrite)

    return run_job("simulate", job)


if __name__ == "__main__":
    sys.exit(main())
