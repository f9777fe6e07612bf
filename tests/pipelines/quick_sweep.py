"""`bots tune` whose train jobs are in-process runs: everything of a sweep is real except engines and learners.

As a command, `python -m tests.pipelines.quick_sweep CONFIG key=value …`, so that it can be killed.
"""

from __future__ import annotations

import sys

import ray

from pipelines import cli
from pipelines.shared.resources import EngineBundles
from pipelines.sweeps import trials
from tests.pipelines import checkpoints, in_process_run


def drive(config, resume: bool, engine_bundles: EngineBundles | None) -> None:
    """In place of the driver of a trial's job. A task for each engine takes its place, as the engine would."""
    from pipelines.shared.preflight import load_inputs

    assert engine_bundles is not None, "a trial's engines have bundles of their own"
    rollout = config.rollout
    places = [
        ray.remote(lambda: None).options(
            num_cpus=rollout.cpus, scheduling_strategy=engine_bundles.strategy(engine)
        )
        for engine in range(rollout.engines_to_start)
    ]
    ray.get([place.remote() for place in places], timeout=120)
    in_process_run.run(load_inputs(config), resume=resume)


def install() -> None:
    """Let the sweeps of this process run such jobs from now on."""
    trials._drive = drive
    # Ray's workers import neither what was replaced here nor the tests.
    for module in (trials, sys.modules[drive.__module__], in_process_run, checkpoints):
        ray.cloudpickle.register_pickle_by_value(module)


def uninstall(original) -> None:
    """Undo it, given the original driver."""
    trials._drive = original
    ray.cloudpickle.unregister_pickle_by_value(trials)


if __name__ == "__main__":
    install()
    sys.exit(cli.main(["tune", *sys.argv[1:]]))
