"""The demo: train the lab's model with `bots` and with `random` selection, with the same start and budget."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console

from bots.config.train import TrainConfig
from bots.config.tree import ConfigError, parse_config, read_tree
from bots.support.files import replace_text
from pipelines.report.comparison import RunCurves, compare, table
from pipelines.report.comparison_plot import draw
from pipelines.shared.command import run_job
from pipelines.shared.job_folder import METRICS
from pipelines.shared.shipped import shipped
from pipelines.train import train

LAB = Path("configs") / "lab.yaml"
RUN, BASELINE = "bots", "random"
STEPS = "run.steps=60"
"""Enough to see the two apart, in minutes; `configs/lab.yaml` and the study train for 150 steps."""


def demo(overrides: list[str], console: Console) -> None:
    """Train twice, compare, and print where the results are; the first run's curves can be seen during the second.

    Replaces an earlier demo in the folder.
    """
    started = time.time()
    lab = _lab()
    overrides = [STEPS, *overrides]
    config = parse_config(TrainConfig, read_tree(lab, overrides), str(lab))
    if config.evaluation.pool is None:
        raise ConfigError("evaluation.pool is not set, so there would be no scores to compare; set it")
    folder = config.run.folder.absolute() / "demo"
    console.print(
        f"The lab: a {_describe_model(config)}, {config.selection.tasks} tasks x {config.rollout.samples} completions "
        f"per step, {config.run.steps} steps; first with {RUN}, then with {BASELINE} selection.",
        highlight=False,
        soft_wrap=True,
    )
    curves: list[RunCurves] = []
    picture = folder / "curves.png"
    title = f"The lab's model, {RUN} and {BASELINE} task selection, seed {config.run.seed}"
    for selector in (RUN, BASELINE):
        one = _arm(lab, overrides, folder, selector)
        train(one, overwrite=(folder / selector).exists(), console=console)
        curves.append(RunCurves.read(selector, folder / selector))
        draw(curves, picture, title)
        if selector == RUN:
            console.print(f"Its curves: {picture}; {BASELINE} is next", highlight=False, soft_wrap=True)
    costs = compare(*curves)
    replace_text(folder / "summary.json", json.dumps(costs, indent=2) + "\n")
    console.print(table(costs, RUN, BASELINE))
    console.print("One seed is one draw; a claim needs several.", highlight=False)
    for path in (picture, folder / "summary.json", *(folder / s / METRICS for s in (RUN, BASELINE))):
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    console.print(f"{(time.time() - started) / 60:.1f} minutes in total", highlight=False)


def _lab() -> Path:
    """The lab's configuration: of the current folder, or the one that comes with the package."""
    return LAB if LAB.is_file() else shipped("train")["lab"]


def _arm(lab: Path, overrides: list[str], folder: Path, selector: str) -> TrainConfig:
    if any(override.startswith(("selection.selector", "run.name")) for override in overrides):
        raise ConfigError(
            "the demo sets selection.selector and run.name itself; use `bots train` to choose them"
        )
    tree = read_tree(lab, [*overrides, f"selection.selector={selector}", f"run.name={selector}"])
    tree["run"]["folder"] = str(folder)
    return parse_config(TrainConfig, tree, str(lab))


def _describe_model(config: TrainConfig) -> str:
    from transformers import AutoConfig

    from pipelines.shared.preflight import model_path

    shape = AutoConfig.from_pretrained(model_path(config.model.path))
    return f"{shape.model_type} model with {shape.num_hidden_layers} layers of {shape.hidden_size}"


def main(arguments: list[str] | None = None) -> int:
    """The command line of the job."""
    parser = argparse.ArgumentParser(prog="bots demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="overrides a key of configs/lab.yaml"
    )
    options = parser.parse_intermixed_args(arguments)
    return run_job("demo", lambda console: demo(options.overrides, console))


if __name__ == "__main__":
    sys.exit(main())
