"""The command `bots`, which runs the job named by its first argument."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

import bots
from actors.fork_server import start_early
from actors.leaving import leave
from actors.loading import loading
from pipelines.shared.shipped import with_paths

JOBS = {
    "train": ("pipelines.train", "finetune a model on tasks selected by the posterior"),
    "demo": ("pipelines.demo", "train the lab's model with bots and with random selection, and compare"),
    "pool": ("pipelines.pool", "inspect a pool before a run: rows, lengths, prompts, reference answers"),
    "study": ("pipelines.study", "run paired seeds; write tables, intervals and tests"),
    "simulate": ("pipelines.simulate", "compare selectors with a simulated learner, in seconds"),
    "tune": ("pipelines.tune", "sweep a search space with simulated or real training, on Ray Tune"),
    "report": ("pipelines.report", "write one HTML file about a run, or several side by side"),
    "watch": ("pipelines.watch", "show a run's metrics in the terminal while it runs"),
    "anchors": ("pipelines.anchors", "measure the pass rates of a weak and a strong model on a pool"),
    "embed": ("pipelines.embed", "embed the prompts of a pool with a language model"),
}

RUN_MODELS = ("train", "demo", "study", "anchors")
"""The jobs that always run engines, in a Ray that they start themselves if there is no cluster."""

EXTRAS = {
    "ray": "ray deepspeed transformers pydantic yaml rich matplotlib tensorboard safetensors filelock psutil torch",
    "gpu": "vllm",
    "data": "math_verify reasoning_gym datasets",
    "tune": "optuna",
    "lora": "peft",
    "trackers": "wandb mlflow alembic",
}
"""Packages of each extra, by the names under which they are imported."""


def main(arguments: list[str] | None = None) -> int:
    """Run a job with the rest of the arguments; returns its exit status.

    0: done. 1: failed. 2: refused, with a message that says why. 130: interrupted.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--version"]:
        print(f"bots-rft {bots.__version__}")
        return 0
    if not given or given[0] not in JOBS:
        asked_for_help = given[:1] in ([], ["-h"], ["--help"])
        if not asked_for_help:
            print(f"bots: there is no job {given[0]!r}", file=sys.stderr)
        print("usage: bots JOB [-h] …\n\nBayesian online task selection for reinforcement finetuning.\n")
        for name, (_, what) in JOBS.items():
            print(f"  {name:10}{what}")
        return 0 if asked_for_help else 2
    module, _ = JOBS[given[0]]
    if (here := os.getcwd()) not in sys.path:
        # Plug-ins named "module:Class" are found here, as with `python -m` and on Ray's workers.
        sys.path.append(here)
    try:
        rest = with_paths(given[0], given[1:])
    except ValueError as error:
        print(f"bots {given[0]}: {error}", file=sys.stderr)
        return 2
    if given[0] in RUN_MODELS and not {"-h", "--help", "--dry-run"} & set(rest):
        start_early()
    try:
        # Here because Ray, torch and transformers take seconds to import.
        with loading():
            job = import_module(module)
        status: int = job.main(rest)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra, packages in EXTRAS.items() if package in packages.split()), None)
        if extra is None:
            raise
        print(
            f"bots {given[0]}: {package} is not installed. It comes with pip install 'bots-rft[{extra}]'; "
            "'bots-rft[gpu]' brings all that training needs on a GPU machine, and `make setup` in the repository the "
            "CPU builds",
            file=sys.stderr,
        )
        return 2
    return status


def command() -> NoReturn:
    """The installed command."""
    leave(main())


if __name__ == "__main__":
    command()
