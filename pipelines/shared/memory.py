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
        saving = memory_plan.learner_nodes(config, sizes)
        needed = (
            config.learner.ranks * rank.bytes + config.rollout.engines_to_start * engine.bytes + saving.bytes
        )
        there = host_bytes()
        if needed > there:
            largest = max((*rank.parts, *engine.parts, *saving.parts), key=lambda part: part.bytes)
            raise ConfigError(
                f"the run needs {needed / memory_plan.GIB:.1f} GiB of memory = {config.learner.ranks} x "
                f"{rank.bytes / memory_plan.GIB:.1f} (learner.ranks) + {config.rollout.engines_to_start} x "
                f"{engine.bytes / memory_plan.GIB:.1f} (rollout.engines) + {saving.bytes / memory_plan.GIB:.1f} (a "
                "checkpoint being written); this machine has "
                f"{there / memory_plan.GIB:.1f}. Most of it is {largest.name}: turn {largest.lower}"
            )
    return memory_plan.table(config, sizes, packed)


def host_bytes() -> int:
    """Memory of this machine, or of the container that this process is in."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP.read_text().strip() if CGROUP.exists() else "max"
    return total if limit == "max" else min(total, int(limit))
