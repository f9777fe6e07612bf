"""Environment variables of the cluster's processes, each with its reason."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def _common(threads: int) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(threads),
        # With spinning threads, two engines on two cores run at a twelfth of their speed.
        "OMP_WAIT_POLICY": "PASSIVE",
        # Without bytecode files every process compiles torch and vLLM again: 13 s instead of 5 s.
        "PYTHONDONTWRITEBYTECODE": "",
        # Ray hides the GPUs from actors that request none, but DeepSpeed and vLLM need the variable unset.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }


def engine_environment(threads: int, on_gpu: bool) -> dict[str, str]:
    """For an actor that holds a vLLM engine in its own process."""
    variables = _common(threads) | {
        # In-process engine: Ray accounts for it, and it starts in half the time and memory.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1",
    }
    if not on_gpu:
        # Otherwise the first generation would spend 12 s in torch.compile on a CPU.
        variables["TORCHDYNAMO_DISABLE"] = "1"
    return variables


def learner_environment(threads: int, on_gpu: bool) -> dict[str, str]:
    """For a rank of the DeepSpeed group."""
    variables = _common(threads) | {"RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1"}
    if not on_gpu:
        variables["DS_ACCELERATOR"] = "cpu"
    return variables


def driver_environment() -> dict[str, str]:
    """For the process that starts the job, set before Ray is imported."""
    return {
        # `train.report` waits for the controller's next poll, two seconds by default.
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
        "RAY_TRAIN_V2_ENABLED": "1",
        # Reconciliation queries a dashboard that an embedded Ray does not have.
        "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
        "RAY_TRAIN_METRICS_ENABLED": "0",
        # One process fewer to start where nodes are not taken away; `pipelines.train` turns it on for a cluster.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
    }


@contextmanager
def exported(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that processes started inside inherit; those that are set already stay."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
