"""Settings that were given and can have no effect beside the others: nothing is wrong with them, but they mislead."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from bots.config.train import SelectionConfig, TrainConfig
from bots.settings import UNIFORM

BLIND = ("random", "offline", "adarft", "greso", "dps")
"""Selectors that do not look at the beliefs."""
OWN_TARGET = {
    "variance": "the greatest variance of the rewards",
    "insight": "the greatest information, weighted by difficulty",
    "vade": "the greatest information gain",
    "cures": "the greatest variance of the rewards",
}
"""Selectors that don't aim at p*, and what they aim at."""
BLIND_ALLOCATIONS = ("even", "until_signal", "speed")
"""Allocations that do not either."""
BELIEFS = (
    "p_star",
    "lam",
    "rho",
    "evidence",
    "evidence_options",
    "prior",
    "forgetting",
    "adaptor",
    "adaptor_options",
)
"""Keys of `selection` that shape the beliefs, or what is aimed at by them."""


def without_effect(config: TrainConfig) -> list[str]:
    """One sentence for each key that was given (in the file or as an override) and changes nothing, and why."""
    return [
        f"{key} is set, but has no effect: {why}"
        for key, why in (*_selection(config), *_rollout(config), *_learner(config), *_run(config))
    ]


def _given(section: BaseModel, name: str, *keys: str) -> list[str]:
    """Those of the keys that were given, and not only as None, or as the prior that all have without one."""
    return [
        f"{name}.{key}"
        for key in keys
        if key in section.model_fields_set and getattr(section, key) not in (None, {}, (), UNIFORM)
    ]


def _selection(config: TrainConfig) -> Iterator[tuple[str, str]]:
    selection = config.selection
    if selection.selector in BLIND and selection.retire_above is None:
        blind = selection.allocation in BLIND_ALLOCATIONS
        keys: tuple[str, ...] = BELIEFS if blind else ("p_star",)
        if selection.selector == "adarft":  # its target reward
            keys = tuple(key for key in keys if key != "p_star")
        for key in _given(selection, "selection", *keys):
            yield key, f"selector {selection.selector} does not look at the beliefs"
    else:
        yield from _beliefs(selection)
    if selection.retire_above is None:
        for key in _given(selection, "selection", "recheck"):
            yield key, "it counts with selection.retire_above only, which is off"
    if selection.domain_shares != "weights":
        for number, source in enumerate(config.pool.sources):
            for key in _given(source, f"pool.sources.{number}", "weight"):
                yield key, "it counts with selection.domain_shares=weights only"


def _beliefs(selection: SelectionConfig) -> Iterator[tuple[str, str]]:
    if aim := OWN_TARGET.get(selection.selector):
        for key in _given(selection, "selection", "p_star"):
            yield key, f"selector {selection.selector} aims at {aim}, not at p*"
    if selection.evidence == "none" and selection.forgetting == "step":
        for key in _given(selection, "selection", "evidence_options"):
            yield key, "selection.evidence is none"
        if selection.selector not in ("mopps", "dots"):
            for key in _given(selection, "selection", "rho"):
                yield key, "selection.evidence is none, so that there is no implicit evidence to share with"
    elif selection.rho == 0 and selection.adaptor is None:
        for key in _given(selection, "selection", "evidence", "evidence_options"):
            yield key, "selection.rho is 0: only a task's own rollouts count"


def _rollout(config: TrainConfig) -> Iterator[tuple[str, str]]:
    rollout = config.rollout
    if rollout.max_staleness == 0 and rollout.keep_kv_cache:
        yield (
            "rollout.keep_kv_cache",
            "with rollout.max_staleness 0 no completion is in progress at new weights",
        )
    if rollout.gpus > 0:
        for key in _given(rollout, "rollout", "kv_cache_gib"):
            yield key, "engines on GPUs take rollout.gpu_memory_utilization"
    else:
        for key in _given(rollout, "rollout", "gpu_memory_utilization"):
            yield key, "rollout.gpus is 0"


def _learner(config: TrainConfig) -> Iterator[tuple[str, str]]:
    learner = config.learner
    if learner.loss in ("grpo", "dr_grpo", "dapo", "gspo") and learner.updates_per_batch == 1:
        for key in _given(learner, "learner", "clip_low", "clip_high"):
            yield key, "with learner.updates_per_batch 1 the policy ratio is 1, and nothing is clipped"
    if learner.loss == "rloo":
        for key in _given(learner, "learner", "clip_low", "clip_high"):
            yield key, "loss rloo does not clip"
    if config.selection.allocation == "even":
        for key in _given(learner, "learner", "group_weights"):
            yield key, "with selection.allocation even all groups have the same size"


def _run(config: TrainConfig) -> Iterator[tuple[str, str]]:
    run, evaluation = config.run, config.evaluation
    if not run.wait_for_nodes_s and run.nodes_join_by_hand:
        yield "run.nodes_join_by_hand", "run.wait_for_nodes_s is 0, so that nothing waits for nodes"
    if not config.rollout.gpus and not config.learner.gpus:
        for key in _given(run, "run", "gpu_memory_gib"):
            yield key, "rollout.gpus and learner.gpus are 0"
    for number, source in enumerate(() if evaluation.pool is None else evaluation.pool.sources):
        for key in _given(source, f"evaluation.pool.sources.{number}", "weight"):
            yield key, "an evaluation takes every task"
    for number, source in enumerate(config.pool.sources):
        if source.set is not None:
            yield (
                f"pool.sources.{number}.set",
                "sets are scored at an evaluation; only evaluation.pool has them",
            )
    if evaluation.pool is None:
        for key in _given(evaluation, "evaluation", "every", "samples", "temperature"):
            yield key, "there is no evaluation.pool"
    if run.checkpoint_every == 0:
        for key in _given(run, "run", "checkpoints_kept", "keep_best"):
            if key != "run.keep_best" or run.keep_best:
                yield key, "run.checkpoint_every is 0, so that there are no checkpoints"
