"""CPU seconds until an engine is up and until the learner's code is loaded, with and without `actors.loading`.

    python -m benchmarks.startup --rounds 5

Each round starts a fresh process for each part, with and without, in turn, with the lab's base model. Prints the
medians and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext

from actors.environment import engine_environment, learner_environment
from actors.loading import loading
from bots.config.train import RolloutConfig

PARTS = {"engine": engine_environment(1, False), "learner": learner_environment(1, False)}


def seconds(part: str, model: str, plainly: bool) -> float:
    """CPU time that this process takes to load a part and, if it is the engine, to start it."""
    # Before the clock runs: a rank has it from Ray Train, an engine's process from the messages that it gets.
    import torch  # noqa: F401

    started = time.process_time()
    if part == "learner":
        if plainly:
            # As it comes: with MLflow.
            import deepspeed  # noqa: F401
        with nullcontext() if plainly else loading():
            import actors.learner  # noqa: F401
    else:
        with nullcontext() if plainly else loading():
            from actors.engine import Engine, prepare_process
        prepare_process()
        Engine(model, RolloutConfig(max_model_len=128, kv_cache_gib=0.25))
    return time.process_time() - started


def measured(part: str, model: str, plainly: bool) -> float:
    """`seconds` of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.startup", "--measure", part, model]
    # Were no byte code written, each process would compile all that it imports.
    env = {**os.environ, **PARTS[part], "PYTHONDONTWRITEBYTECODE": ""}
    given = [*command, *(["--plainly"] if plainly else [])]
    done = subprocess.run(given, env=env, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--plainly", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(seconds(*options.measure, options.plainly))
        return
    from bots.lab.checkpoints import checkpoint_path

    model = str(checkpoint_path("base"))
    for part in PARTS:
        measured(part, model, plainly=True)  # reads the packages from disk
        rounds = [(measured(part, model, True), measured(part, model, False)) for _ in range(options.rounds)]
        plain, ours = (statistics.median(each) for each in zip(*rounds, strict=True))
        ratio = statistics.median(mine / theirs for theirs, mine in rounds)
        print(f"{part:8} plainly {plain:5.2f} s   loading() {ours:5.2f} s   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
