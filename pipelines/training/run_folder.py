"""A run's folder: creating it, and the checks that protect earlier results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc

from bots.belief.snapshot import first_difference
from bots.config.train import TrainConfig, load_config
from bots.config.tree import ConfigError, dump_config
from bots.pool import CONTENT, TaskPool
from bots.settings import AUTO, BETA, UNIFORM
from bots.support.files import replace_text
from pipelines.shared.job_folder import CONFIG, METRICS, POOL, kind_of
from pipelines.shared.lock import unwritable_folder
from pipelines.shared.preflight import RunInputs
from pipelines.shared.summary import read_metrics
from pipelines.training.saved import committed, leftovers, restore_from

POOLS = "pools.json"
"""Number of tasks and fingerprint of each pool of a run, by the pool's configuration key."""


def check_folder(
    config: TrainConfig, *, resume: bool, overwrite: bool, resume_from: int | None = None
) -> str | None:
    """Check that a run may use its folder, without changing anything. Returns a warning or None.

    resume_from: step of the checkpoint to resume from; None: the newest.
    Raises ConfigError if the folder exists and no flag is given, if there is no run to resume, if that run had another
    configuration, has a damaged checkpoint, or has none and never will, or if the folder holds something else.
    """
    folder = config.run.path
    known = folder / CONFIG
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite cannot be combined")
    if resume:
        if not known.exists():
            raise ConfigError(f"nothing to resume in {folder}")
        if kind_of(folder) != "train":
            raise ConfigError(f"nothing to resume in {folder}: its {CONFIG} is not a run's")
        _check_same_experiment(known, config)
        step = _resume_step(folder, resume_from)
        return _check_restart(config) if step is None else _missing_steps(folder, step)
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise ConfigError(
                f"run folder {folder} exists; continue it with --resume, replace it with --overwrite, "
                "or choose another run.name"
            )
        if kind_of(folder) != "train":
            raise ConfigError(f"{folder} is not a run's folder; it is not overwritten")
    return None


def as_recorded(config: TrainConfig) -> TrainConfig:
    """The same where a run is resumed: `auto` is what the run has, whatever the pool has now."""
    known = config.run.path / CONFIG
    selection = config.selection
    if not selection.depends_on_pool or not known.exists() or kind_of(config.run.path) != "train":
        return config
    before = _began_with(known).selection
    keys = ["belief", "belief_options"] * (selection.belief == AUTO) + ["prior"] * (selection.prior == AUTO)
    try:
        recorded = selection.having(**{key: getattr(before, key) for key in keys})
    except ValueError:
        return config  # with a key that rules it out, which `check_folder` names
    return config.model_copy(update={"selection": recorded})


def _began_with(known: Path) -> TrainConfig:
    """A run's own configuration; one from before there was more than one belief had the Beta update and its prior."""
    config = load_config(known)
    first = {"belief": BETA, "prior": UNIFORM}
    lacking = {key: value for key, value in first.items() if getattr(config.selection, key) == AUTO}
    if not lacking:
        return config
    return config.model_copy(update={"selection": config.selection.having(**lacking)})


def create_folder(
    config: TrainConfig, *, resume: bool, overwrite: bool, resume_from: int | None = None
) -> Path:
    """Create, reuse or replace the run's folder, as the flags say, and write `config.yaml` into it.

    `overwrite` deletes what is there, so call this when every other check has passed.
    Raises ConfigError as `check_folder` does, and if the folder cannot be written.
    """
    folder = config.run.path
    check_folder(config, resume=resume, overwrite=overwrite, resume_from=resume_from)
    try:
        if resume:
            # It belongs to the interrupted part; `bots watch` would take the run for ended.
            (folder / "summary.json").unlink(missing_ok=True)
            restore_from(folder, _resume_step(folder, resume_from))
            # These files restore a posterior actor that dies during a run. Here the checkpoint has the beliefs.
            for name in ("snapshot.arrow", "log.jsonl"):
                (folder / "posterior" / name).unlink(missing_ok=True)
        elif overwrite and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / CONFIG, dump_config(config))
    except OSError as error:
        raise unwritable_folder(folder, error) from error
    return folder


def check_pools(folder: Path, inputs: RunInputs) -> None:
    """Check that a resumed run has the tasks it started with; the training pool may have grown at its end.

    Raises ConfigError otherwise. (Old runs have no `pools.json`; for those only the posterior checks the pool.)
    """
    known = folder / POOLS
    if not known.exists():
        return
    try:
        # Every pool is there: a run keeps its `evaluation.pool`, or that it has none.
        before = json.loads(known.read_bytes())
        facts = {key: (int(before[key]["tasks"]), str(before[key]["fingerprint"])) for key in _pools(inputs)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{known} is damaged ({error}): whether the pools are still the run's can't be checked. If you are sure of "
            "it, delete the file: then only the training pool is checked, against the beliefs"
        ) from error
    for key, pool in _pools(inputs).items():
        tasks, fingerprint = facts[key]
        may_grow = key == "pool"
        if (len(pool) > tasks and not may_grow) or not pool.begins_with(fingerprint, tasks):
            detail = _difference(folder, pool) if key == "pool" else ""
            raise ConfigError(
                f"{key} is not the pool that the run in {folder} started with: {tasks:,} tasks then, {len(pool):,} "
                f"now, or another order, or other prompts, answers or graders{detail}. Restore its sources, or choose "
                "another run.name"
            )


def _difference(folder: Path, pool: TaskPool) -> str:
    """Where the pool first differs from the run's `pool.arrow`; empty if that cannot be read."""
    try:
        with pa.memory_map(str(folder / POOL)) as file:
            before = ipc.open_file(file).read_all()
    except (OSError, pa.ArrowException):
        return ""
    content = before[CONTENT].to_numpy() if CONTENT in before.column_names else None
    return f" ({first_difference(pool, before['id'], content)})"


def record_pools(folder: Path, inputs: RunInputs) -> None:
    """Write `pools.json`, for `check_pools`."""
    facts = {
        key: {"tasks": len(pool), "fingerprint": pool.fingerprint} for key, pool in _pools(inputs).items()
    }
    replace_text(folder / POOLS, json.dumps(facts, indent=2) + "\n")


def _pools(inputs: RunInputs) -> dict[str, TaskPool]:
    pools = {"pool": inputs.train, "evaluation.pool": inputs.evaluation}
    return {key: encoded.pool for key, encoded in pools.items() if encoded is not None}


def _resume_step(folder: Path, asked: int | None) -> int | None:
    """Step of the checkpoint to resume from; None if there is none. asked: the step the user asked for.

    Raises ConfigError for a damaged or a missing checkpoint, naming those that exist.
    """
    known = committed(folder)
    steps = ", ".join(str(saved.step) for saved in known) or "none"
    if asked is not None and asked not in {saved.step for saved in known}:
        raise ConfigError(f"{folder} has no checkpoint of step {asked}; it has: {steps}")
    wanted = [saved for saved in known if asked is None or saved.step <= asked]
    if not wanted:
        return None
    newest = wanted.pop()
    fault = newest.fault()
    if fault is None:
        return newest.step
    found = f"checkpoint {newest.folder} is damaged: {fault}"
    before = next((saved for saved in reversed(wanted) if saved.fault() is None), None)
    if before is None:
        raise ConfigError(
            f"{found}, and so are all earlier ones. Start over with --overwrite, or choose another run.name"
        )
    raise ConfigError(
        f"{found}. The checkpoint of step {before.step} is intact: --resume-from {before.step} continues from there "
        "and repeats the later steps"
    )


def _missing_steps(folder: Path, step: int) -> str | None:
    """A warning if steps up to the checkpoint have no line in the metrics; a resume does not repeat them."""
    have = {record["step"] for record in read_metrics(folder)} if (folder / METRICS).exists() else set()
    missing = sorted(set(range(1, step + 1)) - have)
    if not missing:
        return None
    shown = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
    return f"{folder / METRICS} has no line for {len(missing)} of the steps before the checkpoint: {shown}"


def _check_restart(config: TrainConfig) -> str | None:
    """The warning for a resumed run without a checkpoint; ConfigError if restarting would lose finished work."""
    folder = config.run.path
    records = read_metrics(folder) if (folder / METRICS).exists() else []
    step = max((record["step"] for record in records), default=0)
    if step == 0:
        return None
    summary = folder / "summary.json"
    finished = summary.exists() and _is_finished(summary)
    if finished or config.run.checkpoint_every == 0:
        why = "it is finished" if finished else "run.checkpoint_every is 0"
        raise ConfigError(
            f"the run in {folder} has {step} steps but no checkpoint to resume from, and {why}. Start over with "
            "--overwrite, which deletes them, or choose another run.name"
        )
    partial = [saved.folder.name for saved in leftovers(folder)]
    unfinished = f" ({', '.join(partial)} was never completed)" if partial else ""
    return f"{folder} has {step} steps but no checkpoint yet{unfinished}: the run starts over"


def _is_finished(summary: Path) -> bool:
    """Whether a run's summary says so. A damaged one counts as the end of a run, whose steps must not be lost."""
    try:
        return bool(json.loads(summary.read_bytes())["status"] == "finished")
    except (OSError, ValueError, KeyError, TypeError):
        return True


MAY_CHANGE = (
    "run.steps", "run.checkpoint_every", "run.checkpoints_kept", "run.wait_for_nodes_s", "run.nodes_join_by_hand",
    "run.folder", "run.keep_rollouts", "run.trackers", "run.gpu_memory_gib", "run.export",
    "pool.sources.*.path", "evaluation.pool.sources.*.path",
    "rollout.engines", "rollout.min_engines", "rollout.max_staleness", "rollout.keep_kv_cache", "rollout.max_num_seqs",
    "rollout.cpus", "rollout.threads", "rollout.kv_cache_gib", "rollout.gpu_memory_utilization", "rollout.timeout_s",
    "rollout.start_timeout_s", "rollout.resources", "rollout.enforce_eager",
    "grading.actors", "grading.workers", "grading.cpus", "grading.timeout_s", "grading.memory_gib", "grading.judge.url",
    "learner.ranks", "learner.cpus", "learner.threads", "learner.max_failures", "learner.timeout_s",
    "learner.collective_timeout_s", "learner.resources", "learner.tokens_per_micro_batch",
    "learner.gradient_checkpointing", "learner.packing", "learner.weight_sync", "learner.weight_sync_options",
    "learner.lr", "learner.grad_clip", "learner.importance_cap", "learner.kl_coefficient", "learner.max_skipped_steps",
)  # fmt: skip
"""Keys that a resumed run may change: how long and where it runs, what memory it takes, where its data lie, and what a
loss that is not finite asks for. Anything else makes it another experiment. (`run.keep_best` is not among them: Ray
Train does not reorder the existing checkpoints.)"""


def _check_same_experiment(known: Path, config: TrainConfig) -> None:
    """Raise ConfigError if a key outside MAY_CHANGE differs from the run's own configuration."""
    before, now = _began_with(known).model_dump(), as_recorded(config).model_dump()
    # Another belief brings another λ, ρ and evidence, which would be a misleading thing to name.
    found = sorted(_differences("", before, now), key=lambda change: change[0] != "selection.belief")
    for key, old, new in found:
        if not any(fnmatchcase(key, pattern) or key.startswith(f"{pattern}.") for pattern in MAY_CHANGE):
            raise ConfigError(
                f"the run was started with {key} = {old!r}, now it is {new!r}; a "
                f"resumed run must keep it ({known} has its settings)"
            )


def _differences(key: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Dotted keys of two configurations whose values differ, with both values."""
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        for name in before:
            yield from _differences(f"{key}.{name}" if key else name, before[name], now[name])
    elif isinstance(before, tuple) and isinstance(now, tuple) and len(before) == len(now):
        for place, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _differences(f"{key}.{place}", old, new)
    elif before != now:
        yield key, before, now
