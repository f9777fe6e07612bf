"""The command `bots`: one sub-command for each job."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from rich.console import Console

from bots.config import ConfigError, dump_config, load_config


def main(arguments: list[str] | None = None) -> int:
    """Run a sub-command; returns the exit status: 0 done, 2 refused (the message says why), 130 interrupted."""
    parser = argparse.ArgumentParser(prog="bots", description="Bayesian online task selection for RFT.")
    commands = parser.add_subparsers(dest="command", required=True)
    for add in (_add_train, _add_demo, _add_anchors):
        add(commands)
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["anchors"]:
        # The job has a command line of its own; argparse would take its --options for ours.
        from pipelines.anchors import main as anchors

        return anchors(given[1:])
    options = parser.parse_args(given)
    console = Console()
    try:
        run: Callable[[argparse.Namespace, Console], int] = options.run
        return run(options, console)
    except (ConfigError, ValueError, RefusedError) as error:
        Console(stderr=True).print(f"bots {options.command}: {error}", markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; everything has been ended, results so far are kept")
        return 130


class RefusedError(RuntimeError):
    """A job that was refused before it started."""


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("train", help="finetune a model on the tasks that the posterior picks")
    parser.add_argument("config", help="a YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="laid over the file")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the configuration and the plan, and stop"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run from its newest checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="replace the run's folder")
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace, console: Console) -> int:
    config = load_config(options.config, options.overrides)
    from pipelines import plan
    from pipelines.train import install_signal_handler, train

    if options.dry_run:
        from pipelines.preparation import prepare

        prepared = prepare(config)
        console.print(dump_config(config), markup=False, highlight=False, end="")
        console.print(f"# pool: {len(prepared.train.pool)} tasks", highlight=False)
        for line in plan.describe(plan.plan(config)).splitlines():
            console.print(f"# {line}", highlight=False)
        return 0
    install_signal_handler()
    try:
        summary = train(config, resume=options.resume, overwrite=options.overwrite, console=console)
    except plan.ResourceError as error:
        raise RefusedError(str(error)) from error
    console.print(
        f"{summary['steps']} steps, best score {summary['best_score']} at step {summary['best_step']}"
    )
    console.print(f"results in {config.run.path}", highlight=False, soft_wrap=True)
    return 0


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("demo", help="train the lab's model with bots and with random, and compare")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="laid over configs/lab.yaml"
    )
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace, console: Console) -> int:
    from pipelines.demo import demo
    from pipelines.train import install_signal_handler

    install_signal_handler()
    demo(options.overrides, console)
    return 0


def _add_anchors(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    commands.add_parser("anchors", help="measure the pass rates of a weak and a strong model on a pool")


if __name__ == "__main__":
    sys.exit(main())
