"""The memory plan of a run: a table for a dry run, and a refusal of what can't fit, before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from bots.config.train import TrainConfig
from bots.config.tree import ConfigError
from bots.learning import memory_plan
from bots.learning.footprint import footprint
from bots.learning.policy import packs
from pipelines.shared.ray_session import uses_local_ray

CGROUP = Path("/sys/fs/cgroup/memory.max")


def plan_memory(config: TrainConfig, model: str) -> list[str]:
    """Lines of the memory plan of the model at `model`, a folder or a hub's name.

    Raises ConfigError with the arithmetic and the keys to turn where the run can't fit: on GPUs of
    `run.gpu_memory_gib`, or in this machine's memory if everything runs here, on CPUs.
    """
    packed = packs(model, config.model, config.learner)
    sizes = footprint(model, getattr(torch, config.model.dtype))
    if reason := memory_plan.too_large(config, sizes, packed):
        raise ConfigError(reason)
    if uses_local_ray() and not config.learner.gpus and not config.rollout.gpus:
        rank, engine = memory_plan.learner_rank(config, sizes, packed), memory_plan.engine(config, sizes).need
        saving, sending = memory_plan.learner_nodes(config, sizes), memory_plan.rank_0_node(config, sizes)
        each = [
            (config.learner.ranks, rank, "learner.ranks"),
            (config.rollout.engines_to_start, engine, "rollout.engines"),
            (1, saving, "a checkpoint being written"),
            (1, sending, "new weights on their way"),
        ]
        needed = sum(count * need.bytes for count, need, _ in each)
        there = host_bytes()
        if needed > there:
            largest = max((part for _, need, _ in each for part in need.parts), key=lambda part: part.bytes)
            terms = " + ".join(
                f"{count} x {need.bytes / memory_plan.GIB:.1f} ({what})" for count, need, what in each
            )
            raise ConfigError(
                f"the run needs {needed / memory_plan.GIB:.1f} GiB of memory = {terms}; this machine has "
                f"{there / memory_plan.GIB:.1f}. Most of it is {largest.name}, smaller "
                f"with {largest.lower or 'a smaller model'}"
            )
    return memory_plan.table(config, sizes, packed)


def host_bytes() -> int:
    """Memory of this machine, or of the container that this process is in."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP.read_text().strip() if CGROUP.exists() else "max"
    return total if limit == "max" else min(total, int(limit))
