"""A run's folder: what it holds, and whether a run may have it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc
import yaml

from bots.belief.snapshot import first_difference
from bots.config.train import TrainConfig, load_config
from bots.config.tree import ConfigError, dump_config
from bots.config.yaml_text import read_yaml_file
from bots.pool import CONTENT, TaskPool
from bots.support.files import replace_text
from pipelines.shared.lock import unwritable
from pipelines.shared.preflight import Prepared
from pipelines.shared.summary import read_metrics
from pipelines.training.saved import committed, go_on_from, leftovers

METRICS = "metrics.jsonl"
CONFIG = "config.yaml"
"""What a folder is known by: the job's configuration, which is written first."""
POOL = "pool.arrow"
POOLS = "pools.json"
"""How many tasks a run's pools had and their fingerprints, by the pools' keys in the configuration."""


def kind_of(folder: Path) -> str | None:
    """Whose configuration lies in a folder: "train", "anchors", or None where there is none, or something else's."""
    try:
        tree = read_yaml_file(folder / CONFIG)
    except (OSError, yaml.YAMLError):
        return None
    if not isinstance(tree, dict):
        return None
    if {"weak", "strong"} <= tree.keys():
        return "anchors"
    return "train" if isinstance(tree.get("run"), dict) and "steps" in tree["run"] else None


def check_folder(
    config: TrainConfig, *, resume: bool, overwrite: bool, resume_from: int | None = None
) -> str | None:
    """Whether a run may have its folder; changes nothing. Returns what there is to be warned of.

    resume_from: the step whose checkpoint the resume goes on from; None: the newest.
    Raises ConfigError for a folder that exists (without a flag), that has no run to resume, whose run had another
    configuration or left no checkpoint and never will, whose checkpoint is damaged, or that holds something else.
    """
    folder = config.run.path
    known = folder / CONFIG
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other")
    if resume:
        if not known.exists():
            raise ConfigError(f"nothing to resume in {folder}")
        if kind_of(folder) != "train":
            raise ConfigError(f"nothing to resume in {folder}: its {CONFIG} is not a run's")
        _refuse_other_run(known, config)
        step = _resume_step(folder, resume_from)
        return _begins_again(config) if step is None else _missing_steps(folder, step)
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise ConfigError(
                f"run folder {folder} exists; continue it with --resume, replace it with --overwrite, "
                "or choose another run.name"
            )
        if kind_of(folder) != "train":
            raise ConfigError(f"{folder} is not a run's folder, it will not be overwritten")
    return None


def claim_folder(
    config: TrainConfig, *, resume: bool, overwrite: bool, resume_from: int | None = None
) -> Path:
    """Make the run's folder, or take the existing one as the flags allow; write `config.yaml` into it.

    What is there is lost with `overwrite`: to be called when nothing else stands against the run.
    Raises ConfigError as `check_folder` does, and for a folder that cannot be written.
    """
    folder = config.run.path
    check_folder(config, resume=resume, overwrite=overwrite, resume_from=resume_from)
    try:
        if resume:
            # It is of the part before; who watches the run would take it for ended.
            (folder / "summary.json").unlink(missing_ok=True)
            go_on_from(folder, _resume_step(folder, resume_from))
            # The posterior's own files are for an actor that dies in a run: the checkpoint brings its beliefs.
            for name in ("snapshot.arrow", "log.jsonl"):
                (folder / "posterior" / name).unlink(missing_ok=True)
        elif overwrite and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / CONFIG, dump_config(config))
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


def check_pools(folder: Path, prepared: Prepared) -> None:
    """Whether a resumed run has the tasks that it began with; the training pool may have gained some at its end.

    Raises ConfigError where not. (A run of a version that did not note its pools is judged by the posterior alone.)
    """
    known = folder / POOLS
    before = json.loads(known.read_text()) if known.exists() else {}
    for key, pool in _pools(prepared).items():
        if key not in before:
            continue
        tasks, fingerprint = before[key]["tasks"], before[key]["fingerprint"]
        may_grow = key == "pool"
        if (len(pool) > tasks and not may_grow) or not pool.begins_with(fingerprint, tasks):
            detail = _difference(folder, pool) if key == "pool" else ""
            raise ConfigError(
                f"{key} has other tasks than when the run in {folder} began, {tasks:,} then and {len(pool):,} now, or "
                f"in another order, or with other prompts, answers or graders{detail}; give it back its sources, or "
                "choose another run.name"
            )


def _difference(folder: Path, pool: TaskPool) -> str:
    """Where the pool first differs from the one that the run wrote down; empty where that is not known."""
    try:
        with pa.memory_map(str(folder / POOL)) as file:
            before = ipc.open_file(file).read_all()
    except (OSError, pa.ArrowException):
        return ""
    content = before[CONTENT].to_numpy() if CONTENT in before.column_names else None
    return f" ({first_difference(pool, before['id'], content)})"


def note_pools(folder: Path, prepared: Prepared) -> None:
    """Write down which pools a run has, for `check_pools`."""
    noted = {
        key: {"tasks": len(pool), "fingerprint": pool.fingerprint} for key, pool in _pools(prepared).items()
    }
    replace_text(folder / POOLS, json.dumps(noted, indent=2) + "\n")


def _pools(prepared: Prepared) -> dict[str, TaskPool]:
    pools = {"pool": prepared.train, "evaluation.pool": prepared.evaluation}
    return {key: encoded.pool for key, encoded in pools.items() if encoded is not None}


def _resume_step(folder: Path, asked: int | None) -> int | None:
    """The step of the checkpoint that a resume goes on from; None: there is none.

    Raises ConfigError for a damaged one, or one that is not there, naming what there is.
    """
    known = committed(folder)
    steps = ", ".join(str(saved.step) for saved in known) or "none"
    if asked is not None and asked not in {saved.step for saved in known}:
        raise ConfigError(f"{folder} has no checkpoint of step {asked}; there are: {steps}")
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
            f"{found}; none before it is whole. Begin again with --overwrite, or with another run.name"
        )
    raise ConfigError(
        f"{found}. The one of step {before.step} is whole: --resume-from {before.step} goes on from there and makes "
        "the steps after it again"
    )


def _missing_steps(folder: Path, step: int) -> str | None:
    """A warning where steps up to the checkpoint's have no line in the metrics: no resume makes them again."""
    have = {record["step"] for record in read_metrics(folder)} if (folder / METRICS).exists() else set()
    missing = sorted(set(range(1, step + 1)) - have)
    if not missing:
        return None
    shown = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
    return f"{folder / METRICS} has no line for {len(missing)} of the steps before the checkpoint: {shown}"


def _begins_again(config: TrainConfig) -> str | None:
    """What a resumed run without a checkpoint is told; ConfigError where it would lose what cannot come again."""
    folder = config.run.path
    records = read_metrics(folder) if (folder / METRICS).exists() else []
    step = max((record["step"] for record in records), default=0)
    if step == 0:
        return None
    summary = folder / "summary.json"
    finished = summary.exists() and json.loads(summary.read_text())["status"] == "finished"
    if finished or config.run.checkpoint_every == 0:
        why = "it is finished" if finished else "run.checkpoint_every is 0"
        raise ConfigError(
            f"the run in {folder} has {step} steps and left no checkpoint to resume from, and {why}; begin again with "
            "--overwrite, which loses them, or choose another run.name"
        )
    partial = [saved.folder.name for saved in leftovers(folder)]
    unfinished = f" ({', '.join(partial)} was never completed)" if partial else ""
    return f"{folder} holds {step} steps and no checkpoint yet{unfinished}: the run begins again"


MAY_CHANGE = {
    "run": {
        "steps", "checkpoint_every", "checkpoints_kept", "wait_for_nodes_s", "folder", "keep_rollouts", "trackers",
    },
    "rollout": {
        "engines", "min_engines", "max_staleness", "max_num_seqs", "cpus", "threads", "kv_cache_gib",
        "gpu_memory_utilization", "timeout_s", "resources",
    },
    "grading": {"actors", "workers", "timeout_s", "memory_gib"},
    "learner": {"ranks", "cpus", "threads", "max_failures", "timeout_s", "resources"},
}  # fmt: skip
"""What a resumed run may be given anew: how long and where it runs. The rest makes it another experiment. (Not
`run.keep_best`: Ray Train does not put the checkpoints that are there into the new order.)"""


def _refuse_other_run(known: Path, config: TrainConfig) -> None:
    """A resumed run may be given more steps, another cadence or other machines, but remains the same experiment."""
    before, now = load_config(known).model_dump(), config.model_dump()
    for section in before:
        for key, value in before[section].items():
            if now[section][key] != value and key not in MAY_CHANGE.get(section, ()):
                raise ConfigError(
                    f"{known} was started with {section}.{key} = {value!r}, now it is {now[section][key]!r}; "
                    "a resumed run must keep it"
                )
